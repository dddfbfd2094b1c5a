-- Schema 4: schema 3's rows, and the users of 5 beside them. It was never shipped alone: 4 and 5 came together.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE jarvis_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
INSERT INTO jarvis_schema VALUES(1,'original','2026-11-24 02:17:10');
INSERT INTO jarvis_schema VALUES(2,'ours','2026-11-24 02:17:10');
INSERT INTO jarvis_schema VALUES(3,'journal','2026-11-24 02:17:10');
INSERT INTO jarvis_schema VALUES(4,'users','2026-11-24 02:51:45');
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp TEXT NOT NULL DEFAULT (datetime('now')),
    type TEXT NOT NULL,
    severity TEXT NOT NULL DEFAULT 'info',
    source TEXT NOT NULL,
    node TEXT,
    summary TEXT NOT NULL,
    details TEXT,
    resolved INTEGER NOT NULL DEFAULT 0,
    resolved_at TEXT,
    resolved_by TEXT
, uuid TEXT, cluster TEXT, condition TEXT, subject TEXT, incident_id TEXT, title TEXT, message TEXT, at_ms INTEGER, resolved_ms INTEGER);
INSERT INTO events VALUES(1,'2026-11-24 02:17:22','status','info','monitor',NULL,'[Monitor] Systems Nominal: 2 of 2 nodes online, 2 of 2 guests running, nothing open','{"target":"cluster"}',0,NULL,NULL,'64f1c65d-a5b3-4cc2-b65b-11b7c9a4afcb','lab',NULL,'cluster',NULL,'Systems Nominal','2 of 2 nodes online, 2 of 2 guests running, nothing open',1795486642051,NULL);
INSERT INTO events VALUES(2,'2026-11-24 02:17:36','alert','error','monitor','pve1','[Monitor] VM web01 (101) crashed: VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)','{"target":"web01","previousState":"running","currentState":"stopped"}',1,'2026-11-24 02:18:07','monitor','38b57320-1d09-45b7-906e-54f866a08e34','lab','VM_CRASHED','qemu/101','a2162116-1e2e-8137-a9b5-42d8382fddba','VM web01 (101) crashed','VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)',1795486656811,1795486687653);
INSERT INTO events VALUES(3,'2026-11-24 02:17:52','status','warning','monitor',NULL,'[Monitor] Cluster Degraded: 2 of 2 nodes online, 0 of 2 guests running, 1 incident open','{"target":"cluster"}',0,NULL,NULL,'6d4aefe1-c62b-4d6a-88de-cdf4ddf5392a','lab',NULL,'cluster',NULL,'Cluster Degraded','2 of 2 nodes online, 0 of 2 guests running, 1 incident open',1795486672064,NULL);
INSERT INTO events VALUES(4,'2026-11-24 02:17:53','status','info','monitor','pve2','[Monitor] Container dns (200) stopped: Container dns (200) on pve2: running to stopped, by alice@pve (vzstop)','{"target":"dns","previousState":"running","currentState":"stopped","user":"alice@pve","upid":"UPID:pve2:000003EF:0A4CC5AC:6B04F3C7:vzstop:200:alice@pve:"}',0,NULL,NULL,'4dd48d7e-e39e-432d-bffd-7eeae0f7f11a','lab',NULL,'lxc/200',NULL,'Container dns (200) stopped','Container dns (200) on pve2: running to stopped, by alice@pve (vzstop)',1795486673820,NULL);
INSERT INTO events VALUES(5,'2026-11-24 02:18:07','alert','info','monitor','pve1','[Monitor] Resolved- VM_CRASHED on pve1: VM web01 (101) on pve1: running again after 0:30','{"target":"web01","currentState":"resolved"}',1,'2026-11-24 02:18:07','monitor','6cad4ba5-40e3-443d-96a0-b77d44594689','lab','VM_CRASHED','qemu/101','a2162116-1e2e-8137-a9b5-42d8382fddba','Resolved: VM_CRASHED on pve1','VM web01 (101) on pve1: running again after 0:30',1795486687653,1795486687653);
INSERT INTO events VALUES(6,'2026-11-24 02:18:22','status','info','monitor',NULL,'[Monitor] Systems Nominal: 2 of 2 nodes online, 1 of 2 guests running, nothing open','{"target":"cluster"}',0,NULL,NULL,'7573355a-9b1a-4836-be3a-066358ceb9ac','lab',NULL,'cluster',NULL,'Systems Nominal','2 of 2 nodes online, 1 of 2 guests running, nothing open',1795486702052,NULL);
INSERT INTO events VALUES(7,'2026-11-24 02:18:25','status','warning','user',NULL,'[User] KILL SWITCH ACTIVATED: root (command line) stopped everything that Jarvis does on its own',NULL,1,'2026-11-24 02:18:25','user','14b9e488-7010-4437-809e-12de60d64f0d',NULL,NULL,NULL,NULL,'KILL SWITCH ACTIVATED','root (command line) stopped everything that Jarvis does on its own',1795486705696,1795486705696);
CREATE TABLE autonomy_actions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp TEXT NOT NULL DEFAULT (datetime('now')),
    incident_key TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    runbook_id TEXT NOT NULL,
    condition TEXT NOT NULL,
    action TEXT NOT NULL,
    action_args TEXT,
    result TEXT NOT NULL,
    result_details TEXT,
    verification_result TEXT,
    autonomy_level INTEGER NOT NULL,
    node TEXT,
    attempt_number INTEGER NOT NULL DEFAULT 1,
    escalated INTEGER NOT NULL DEFAULT 0,
    email_sent INTEGER NOT NULL DEFAULT 0
, cluster TEXT, at_ms INTEGER);
CREATE TABLE preferences (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL DEFAULT (datetime('now'))
);
INSERT INTO preferences VALUES('autonomy.killSwitch','true','2026-11-24 02:18:25');
CREATE TABLE cluster_snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    timestamp TEXT NOT NULL DEFAULT (datetime('now')),
    snapshot TEXT NOT NULL
, cluster TEXT, at_ms INTEGER);
CREATE TABLE checkpoints (
    cluster TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    state TEXT NOT NULL
, journal_seq INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO checkpoints VALUES('lab',1795486705831,'{"version":1,"state":{"judged":{"critical":"2026-11-24T02:18:23.641984786Z","important":"2026-11-24T02:18:21.643061943Z","routine":"2026-11-24T02:18:20.642654127Z","background":"2026-11-24T02:17:25.642624589Z"},"judged_live":{"pve1":"2026-11-24T02:18:24.707130051Z"},"blind_rounds":0,"quorate":true,"frozen":false,"nodes":{"pve1":{"presence":"online","seen_at":"2026-11-24T02:18:23.647671299Z","member_since":"2026-11-24T02:17:15.655289212Z","online_since":"2026-11-24T02:17:15.655289212Z","booted_at":"2026-11-07T02:17:08.649270239Z","uptime":1468867,"moved_at":"2026-11-24T02:18:15.649270239Z","believed":true,"missing":0,"departure":null},"pve2":{"presence":"online","seen_at":"2026-11-24T02:18:23.647671299Z","member_since":"2026-11-24T02:17:15.655289212Z","online_since":"2026-11-24T02:17:15.655289212Z","booted_at":"2026-11-04T02:17:11.647671299Z","uptime":1728072,"moved_at":"2026-11-24T02:18:23.647671299Z","believed":true,"missing":0,"departure":null}},"guests":{"qemu/101":{"guest":{"name":"web01","node":"pve1","status":"Running","uptime":16,"io":855473,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-24T02:18:23.647671299Z","alive_at":"2026-11-24T02:18:24.707130051Z","told_at":"2026-11-24T02:18:01.649270239Z","live":{"running":true,"at":"2026-11-24T02:18:24.707130051Z","uptime":25},"pid":2020,"had_io":true},"lxc/200":{"guest":{"name":"dns","node":"pve2","status":"Stopped","uptime":0,"io":0,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-24T02:18:23.647671299Z","alive_at":"2026-11-24T02:17:27.649563411Z","told_at":"2026-11-24T02:17:27.649563411Z","down_since":"2026-11-24T02:17:51.655364609Z"}},"storages":[["nfs","pve1"],["nfs","pve2"]],"suspects":{},"node_suspects":{},"service_suspects":{},"incidents":{"ids":{"state":4467515653894396194},"open":[]}}}',7);
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    cluster TEXT,
    kind TEXT NOT NULL,
    entry TEXT NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO journal VALUES(1,1795486642051,'lab','heartbeat','{"at":"2026-11-24T02:17:22.051263489Z","subject":"cluster","name":null,"node":null,"fact":{"Heartbeat":{"nodes_online":2,"nodes":2,"guests_running":2,"guests":2,"incidents":0}}}',X'0000000000000000000000000000000000000000000000000000000000000000',X'08c5d96fadd6245533328f268541e9459a5e76b4b412ca29e1dd564d56f5db86');
INSERT INTO journal VALUES(2,1795486656811,'lab','opened','{"at":"2026-11-24T02:17:36.811573928Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Opened":{"incident":215449836919921404531602425103573310906,"finding":{"GuestCrashed":{"kind":"qemu","previous":"Running","trace":"Nothing"}}}}}',X'08c5d96fadd6245533328f268541e9459a5e76b4b412ca29e1dd564d56f5db86',X'9c9213d465266d65ffbcec93fbc1d69292ffeb1da33e24100c33afdddb57102f');
INSERT INTO journal VALUES(3,1795486672064,'lab','heartbeat','{"at":"2026-11-24T02:17:52.064590184Z","subject":"cluster","name":null,"node":null,"fact":{"Heartbeat":{"nodes_online":2,"nodes":2,"guests_running":0,"guests":2,"incidents":1}}}',X'9c9213d465266d65ffbcec93fbc1d69292ffeb1da33e24100c33afdddb57102f',X'ef1210a6d7e6c8e68d35955b23569bc4d242e5ccd5ad7985b57552a9ba48deb7');
INSERT INTO journal VALUES(4,1795486673820,'lab','noted','{"at":"2026-11-24T02:17:53.820401941Z","subject":"lxc/200","name":"dns","node":"pve2","fact":{"Noted":{"GuestChanged":{"from":"Running","to":"Stopped","why":{"Task":{"user":"alice@pve","task":"vzstop","upid":"UPID:pve2:000003EF:0A4CC5AC:6B04F3C7:vzstop:200:alice@pve:"}}}}}}',X'ef1210a6d7e6c8e68d35955b23569bc4d242e5ccd5ad7985b57552a9ba48deb7',X'befb8253f67c49902e1defcc2c55421548c81111481d58e26eb001046155799a');
INSERT INTO journal VALUES(5,1795486687653,'lab','resolved','{"at":"2026-11-24T02:18:07.653819825Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Resolved":{"incident":215449836919921404531602425103573310906,"finding":{"GuestCrashed":{"kind":"qemu","previous":"Running","trace":"Nothing"}},"lasted":"PT30.842245897S","by":"Itself"}}}',X'befb8253f67c49902e1defcc2c55421548c81111481d58e26eb001046155799a',X'36942a4c1adced0660e3e26f72e0a270be24c2bea9e764c1d50a3203bfbdb6af');
INSERT INTO journal VALUES(6,1795486702052,'lab','heartbeat','{"at":"2026-11-24T02:18:22.052462123Z","subject":"cluster","name":null,"node":null,"fact":{"Heartbeat":{"nodes_online":2,"nodes":2,"guests_running":1,"guests":2,"incidents":0}}}',X'36942a4c1adced0660e3e26f72e0a270be24c2bea9e764c1d50a3203bfbdb6af',X'ba500fd0bf8e1065eca5f41cd1c0001060cc9bc4701b8701b88a1361ac27bf1c');
INSERT INTO journal VALUES(7,1795486705696,NULL,'operator','{"by":"root","did":"killSwitch","via":"command line","what":{"changed":true,"key":"autonomy.killSwitch","new":"true","old":null}}',X'ba500fd0bf8e1065eca5f41cd1c0001060cc9bc4701b8701b88a1361ac27bf1c',X'0a0d73f2850c44cb2bc0f01bcd66e751c7667b205ff883158589c52d96a8217d');
CREATE TABLE journal_anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    -- viewer, operator, admin.
    role TEXT NOT NULL,
    -- A JSON list of names; NULL: all.
    clusters TEXT,
    -- NULL: nobody logs in with one.
    password TEXT,
    created_ms INTEGER NOT NULL,
    disabled_ms INTEGER
) STRICT;
INSERT INTO users VALUES('admin','admin',NULL,'$argon2id$v=19$m=7168,t=5,p=1$lD57EhrHKdrqkW5ywuGyyQ$7g6DCtPTlRb03QE0feqScd3YySKxRTs1crTUuPV21Os',1795873978651,NULL);
INSERT INTO users VALUES('olga','operator','["lab"]','$argon2id$v=19$m=7168,t=5,p=1$Ex/bp+IDFsCMLkj+hn0wYA$JVyJslPeTSPQJZmD2Rvf+PZmk9ms9AyoKBPSbmsq0AE',1795873984696,NULL);
CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    clusters TEXT,
    created_ms INTEGER NOT NULL,
    -- NULL: never.
    expires_ms INTEGER,
    last_used_ms INTEGER,
    revoked_ms INTEGER
) STRICT;
INSERT INTO api_tokens VALUES('28059cb6-5e92-435a-a533-79c300919ea4','admin','grafana',X'1be29f4a6e63aa5904560e52484a068974c762e1f759a4248ea13e4b38abbf80','viewer',NULL,1795873984779,NULL,NULL,NULL);
CREATE TABLE sessions (
    digest BLOB PRIMARY KEY,
    user TEXT NOT NULL,
    -- 1: of a page, in a cookie. 0: of a program, shown as a bearer token.
    cookie INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
INSERT INTO sessions VALUES(X'34f0fbd1b79750deabd35e5bcbd0e7729f59bab37d1ceaf86e9e20919a9f474b','admin',0,1795873984616,1795960384616);
INSERT INTO sessions VALUES(X'157700453760e8ed0e623ed57e6f034855b98f930f1adc4065b481c528466984','admin',0,1795874059195,1795960459195);
CREATE TABLE known_peers (
    user TEXT NOT NULL,
    peer TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (user, peer)
) STRICT;
INSERT INTO known_peers VALUES('admin','127.0.0.1',1795873984616);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('events',7);
CREATE INDEX idx_events_timestamp ON events(timestamp);
CREATE INDEX idx_events_type ON events(type);
CREATE INDEX idx_events_node ON events(node);
CREATE INDEX idx_events_resolved ON events(resolved);
CREATE INDEX idx_autonomy_actions_timestamp ON autonomy_actions(timestamp);
CREATE INDEX idx_autonomy_actions_incident_key ON autonomy_actions(incident_key);
CREATE INDEX idx_autonomy_actions_result ON autonomy_actions(result);
CREATE INDEX idx_events_incident_id ON events(incident_id) WHERE incident_id IS NOT NULL;
CREATE INDEX idx_events_unresolved ON events(id) WHERE coalesce(resolved, 0) = 0
    AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL);
CREATE INDEX idx_journal_cluster ON journal(cluster);
COMMIT;
