-- Schema 7, as a daemon left it that had started a crashed guest, with announced work, a silence, and mails that wait for their server.
-- Its key and the head of its journal lie beside it: 7.key, 7.head.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE jarvis_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
INSERT INTO jarvis_schema VALUES(1,'original','2026-11-28 14:57:35');
INSERT INTO jarvis_schema VALUES(2,'ours','2026-11-28 14:57:35');
INSERT INTO jarvis_schema VALUES(3,'journal','2026-11-28 14:57:35');
INSERT INTO jarvis_schema VALUES(4,'users','2026-11-28 14:57:35');
INSERT INTO jarvis_schema VALUES(5,'incidents','2026-11-28 14:57:35');
INSERT INTO jarvis_schema VALUES(6,'outbox','2026-11-28 14:57:35');
INSERT INTO jarvis_schema VALUES(7,'notices','2026-11-28 14:57:35');
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
INSERT INTO events VALUES(1,'2026-11-28 14:57:43','alert','error','monitor','pve1','[Monitor] VM web01 (101) crashed: VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)','{"target":"web01","previousState":"running","currentState":"stopped"}',1,'2026-11-28 14:58:13','monitor','a8a5303d-8c70-4817-ac60-875c6907400d','lab','VM_CRASHED','qemu/101','e0302218-83dc-810f-a44c-b062c05d9aa0','VM web01 (101) crashed','VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)',1795877863373,1795877893765);
INSERT INTO events VALUES(2,'2026-11-28 14:57:45','status','warning','monitor',NULL,'[Monitor] Cluster Degraded: cluster lab: 2 of 2 nodes online, 1 of 2 guests running, 1 incident open','{"target":"cluster"}',0,NULL,NULL,'38359e27-47f6-4781-91b4-a390ce628e84','lab',NULL,'cluster',NULL,'Cluster Degraded','cluster lab: 2 of 2 nodes online, 1 of 2 guests running, 1 incident open',1795877865691,NULL);
INSERT INTO events VALUES(3,'2026-11-28 14:57:58','action','info','monitor','pve1','[Monitor] Remediation starting- vm-crashed-restart: VM web01 (101) on pve1: start it on pve1, attempt 1 of 3 (vm-crashed-restart)','{"target":"web01"}',1,'2026-11-28 14:58:13','monitor','19ce746b-4214-453e-8419-2a95794a538d','lab','VM_CRASHED','qemu/101','e0302218-83dc-810f-a44c-b062c05d9aa0','Remediation starting: vm-crashed-restart','VM web01 (101) on pve1: start it on pve1, attempt 1 of 3 (vm-crashed-restart)',1795877878407,1795877893765);
INSERT INTO events VALUES(4,'2026-11-28 14:58:13','alert','info','monitor','pve1','[Monitor] Resolved- VM_CRASHED on pve1: VM web01 (101) on pve1: running again, mended by Jarvis after 0:30','{"target":"web01","currentState":"resolved"}',1,'2026-11-28 14:58:13','monitor','1a81dd76-e7af-4194-89a5-c50bb020e819','lab','VM_CRASHED','qemu/101','e0302218-83dc-810f-a44c-b062c05d9aa0','Resolved: VM_CRASHED on pve1','VM web01 (101) on pve1: running again, mended by Jarvis after 0:30',1795877893765,1795877893765);
INSERT INTO events VALUES(5,'2026-11-28 14:58:26','status','info','user',NULL,'[User] Maintenance announced: root (command line): node/pve2 in lab from 2026-11-28 14:58 UTC until 2026-11-28 16:58 UTC (new memory)',NULL,1,'2026-11-28 14:58:26','user','67d46252-4798-4d10-84d8-68c9dc8a5f90','lab',NULL,'node/pve2',NULL,'Maintenance announced','root (command line): node/pve2 in lab from 2026-11-28 14:58 UTC until 2026-11-28 16:58 UTC (new memory)',1795877906282,1795877906282);
INSERT INTO events VALUES(6,'2026-11-28 14:58:26','status','info','user',NULL,'[User] Maintenance announced: root (command line): node/pve1 in lab each sun at 02:00 (Europe/Berlin) for 3:00:00 (patches)',NULL,1,'2026-11-28 14:58:26','user','e90541bd-0af1-49d7-b91e-1e58506e3bd5','lab',NULL,'node/pve1',NULL,'Maintenance announced','root (command line): node/pve1 in lab each sun at 02:00 (Europe/Berlin) for 3:00:00 (patches)',1795877906317,1795877906317);
INSERT INTO events VALUES(7,'2026-11-28 14:58:26','status','info','user',NULL,'[User] Silence set: root (command line): lxc/200 in lab from 2026-11-28 14:58 UTC until 2026-11-28 18:58 UTC (noisy)',NULL,1,'2026-11-28 14:58:26','user','b3dac94d-0e51-457b-90a3-edf194d82a19','lab',NULL,'lxc/200',NULL,'Silence set','root (command line): lxc/200 in lab from 2026-11-28 14:58 UTC until 2026-11-28 18:58 UTC (noisy)',1795877906354,1795877906354);
INSERT INTO events VALUES(8,'2026-11-28 14:58:26','status','warning','user',NULL,'[User] KILL SWITCH ACTIVATED: root (command line) stopped everything that Jarvis does on its own',NULL,1,'2026-11-28 14:58:26','user','fecc6458-290a-4c9b-8ca7-922116777ddb',NULL,NULL,NULL,NULL,'KILL SWITCH ACTIVATED','root (command line) stopped everything that Jarvis does on its own',1795877906481,1795877906481);
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
INSERT INTO autonomy_actions VALUES(1,'2026-11-28 14:58:13','VM_CRASHED:101','e0302218-83dc-810f-a44c-b062c05d9aa0','vm-crashed-restart','VM_CRASHED','start','{"node":"pve1","type":"qemu","vmid":101}','success','task UPID:pve1:000003EF:08C15D67:6B0AEC42:qmstart:101:jarvis@pve!fx:','it has run for 1:00',3,'pve1',1,0,0,'lab',1795877893765);
CREATE TABLE preferences (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL DEFAULT (datetime('now'))
);
INSERT INTO preferences VALUES('autonomy.killSwitch','true','2026-11-28 14:58:26');
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
INSERT INTO checkpoints VALUES('lab',1795877906688,'{"version":1,"state":{"judged":{"critical":"2026-11-28T14:58:24.322499012Z","important":"2026-11-28T14:58:15.315247944Z","routine":"2026-11-28T14:57:45.314841732Z","background":"2026-11-28T14:57:50.317469824Z"},"judged_live":{"pve1":"2026-11-28T14:58:25.357206402Z"},"blind_rounds":0,"blind_by":null,"quorate":true,"frozen":false,"nodes":{"pve1":{"presence":"online","seen_at":"2026-11-28T14:58:24.322499012Z","member_since":"2026-11-28T14:57:40.338412254Z","online_since":"2026-11-28T14:57:40.338412254Z","booted_at":"2026-11-11T14:55:08.322499012Z","uptime":1468996,"moved_at":"2026-11-28T14:58:24.322499012Z","believed":true,"missing":0,"departure":null,"address":"None"},"pve2":{"presence":"online","seen_at":"2026-11-28T14:58:24.322499012Z","member_since":"2026-11-28T14:57:40.338412254Z","online_since":"2026-11-28T14:57:40.338412254Z","booted_at":"2026-11-08T14:55:02.322499012Z","uptime":1728202,"moved_at":"2026-11-28T14:58:24.322499012Z","believed":true,"missing":0,"departure":null,"address":"None"}},"guests":{"qemu/101":{"guest":{"name":"web01","node":"pve1","status":"Running","uptime":94,"io":4836416,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-28T14:58:24.322499012Z","alive_at":"2026-11-28T14:58:25.357206402Z","told_at":"2026-11-28T14:58:10.322499012Z","live":{"running":true,"at":"2026-11-28T14:58:25.357206402Z","uptime":106},"pid":2028,"had_io":true},"lxc/200":{"guest":{"name":"dns","node":"pve2","status":"Running","uptime":248602,"io":13559795282,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-28T14:58:24.322499012Z","alive_at":"2026-11-28T14:58:10.322499012Z","told_at":"2026-11-28T14:58:10.322499012Z","had_io":true}},"storages":[],"suspects":{},"node_suspects":{},"service_suspects":{},"incidents":{"ids":{"state":10946862218825429534},"open":[]},"attempts":[[{"check":"GuestCrashed","subject":"qemu/101"},["2026-11-28T14:57:58.407117844Z"]]],"opened":["2026-11-28T14:57:43.373816944Z"],"storm":null}}',13);
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    cluster TEXT,
    kind TEXT NOT NULL,
    entry TEXT NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO journal VALUES(1,1795877855277,NULL,'operator','{"by":"jarvis","did":"userAdded","via":"start","what":{"passwordTakenOver":false,"role":"admin","user":"admin"}}',X'0000000000000000000000000000000000000000000000000000000000000000',X'ee594a7b113d8a26d156ef7f27ed43c2f66a727ef63c3e111b605922b8701a3f');
INSERT INTO journal VALUES(2,1795877855385,NULL,'operator','{"by":"configuration","did":"passwordSet","via":"start","what":{"configured":true,"enabled":false,"user":"admin"}}',X'2d61715581e814be100dfbe6e691a29ad0225acc8cad587a16e55cece046a5d1',X'a315d719d12427049f4a8d21f5e3d7b4a247957e771c0bab7e63b915acaca439');
INSERT INTO journal VALUES(3,1795877863373,'lab','opened','{"at":"2026-11-28T14:57:43.373816944Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Opened":{"incident":297996992849242361196488666948086635168,"finding":{"GuestCrashed":{"kind":"qemu","previous":"Running","trace":"Nothing"}}}}}',X'f4ec6bba81f573d0f869574c6a89b7806acf1601dd22c32765e0989b10dd51cc',X'fa68baf5d4d6db89c777ee403d877179348bf4d4ab937d9fb0b25b77a89005ed');
INSERT INTO journal VALUES(4,1795877863373,'lab','held','{"at":"2026-11-28T14:57:43.373816944Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":297996992849242361196488666948086635168,"condition":"VM_CRASHED","step":{"Held":{"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"holds":[{"Grace":"2026-11-28T14:57:58.373816944Z"}],"runbook":"vm-crashed-restart","level":3}}}}}',X'692fcdaaa97210d32154ec86dc4809856fd28351e5e1b1f224e40b9ac18bf518',X'b4663d00c758f153fa7cf6e85503c315de78407e025e03cda3aef3deb119167c');
INSERT INTO journal VALUES(5,1795877865691,'lab','heartbeat','{"at":"2026-11-28T14:57:45.69125115Z","subject":"cluster","name":null,"node":null,"fact":{"Heartbeat":{"nodes_online":2,"nodes":2,"guests_running":1,"guests":2,"incidents":1}}}',X'1d46c0392fb21c8928162dae59c396315e60abb4e61ab7c434bec80ece6015f6',X'ee33ced7d3106a4790317eb0a8a223e3cd7554ebf9ad66a3578b8c4d5a578bd1');
INSERT INTO journal VALUES(6,1795877878407,'lab','intended','{"at":"2026-11-28T14:57:58.407117844Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":297996992849242361196488666948086635168,"condition":"VM_CRASHED","step":{"Intended":{"attempt":{"number":1,"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"runbook":"vm-crashed-restart","at":"2026-11-28T14:57:58.407117844Z","level":3},"of":3}}}}}',X'43890ceb0c698c8a9ab80d13c895f807ceb2f6659bf7ec9be602ce57242449f6',X'f253a727c391087546c72ec3afda995a3d521decb5048818e5cc424ac2acbb1e');
INSERT INTO journal VALUES(7,1795877878732,'lab','acted','{"at":"2026-11-28T14:57:58.732032752Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":297996992849242361196488666948086635168,"condition":"VM_CRASHED","step":{"Acted":{"attempt":{"number":1,"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"runbook":"vm-crashed-restart","at":"2026-11-28T14:57:58.407117844Z","level":3},"outcome":{"Done":{"upid":"UPID:pve1:000003EF:08C15D67:6B0AEC42:qmstart:101:jarvis@pve!fx:","said":"OK"}}}}}}}',X'd96eabad2179414951a5ca22fd4d2b590c10f030044604d4820c3e45decfc4e6',X'05998e461285b7dd78a7763dee354093efd7a89f9fea18ed3dff8bc80a2c3c2e');
INSERT INTO journal VALUES(8,1795877893765,'lab','verified','{"at":"2026-11-28T14:58:13.765295211Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":297996992849242361196488666948086635168,"condition":"VM_CRASHED","step":{"Verified":{"attempt":{"number":1,"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"runbook":"vm-crashed-restart","at":"2026-11-28T14:57:58.407117844Z","level":3},"helped":true,"words":"it has run for 1:00","upid":"UPID:pve1:000003EF:08C15D67:6B0AEC42:qmstart:101:jarvis@pve!fx:"}}}}}',X'89ed96dc1dcb138ca386a096bee4dcc09dba778bedbdfd9019ae085cc989b89a',X'b1572a419c289ffe15c0f60aec974dc00fc0caf51af50e105058001bc001165c');
INSERT INTO journal VALUES(9,1795877893765,'lab','resolved','{"at":"2026-11-28T14:58:13.765295211Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Resolved":{"incident":297996992849242361196488666948086635168,"finding":{"GuestCrashed":{"kind":"qemu","previous":"Running","trace":"Nothing"}},"lasted":"PT30.391478267S","by":"Mended"}}}',X'f563679c6185071820c33cc7f71711f112047602d9d7eb8dc765a1d949f4d27b',X'692ad76a65f2e135b39ddaab7f83bd1e5da4900f562d47eb0eb193122ca3c7d7');
INSERT INTO journal VALUES(10,1795877906282,NULL,'operator','{"by":"root","did":"maintenanceSet","via":"command line","what":{"by":"root (command line)","cluster":"lab","condition":null,"id":"1df36485-caf9-423a-8431-ca6d9cfd46b4","made":"2026-11-28T14:58:26.282563489Z","note":"new memory","subject":"node/pve2","when":{"from":"2026-11-28T14:58:26.282563489Z","until":"2026-11-28T16:58:26.282563489Z"}}}',X'3fd063030c4fd1534acecfb9c1f90e869b98efbd33b74f0adeda54467886efe1',X'bbc889428175faa923397043d3377926dc77a99e27676b796feb50f0ccea3bdc');
INSERT INTO journal VALUES(11,1795877906317,NULL,'operator','{"by":"root","did":"maintenanceSet","via":"command line","what":{"by":"root (command line)","cluster":"lab","condition":null,"id":"8a5d93e1-f6f2-4a6c-91f3-ebbd77ab2265","made":"2026-11-28T14:58:26.317897723Z","note":"patches","subject":"node/pve1","when":{"at":"02:00:00","days":"sun","minutes":180,"zone":"Europe/Berlin"}}}',X'c578dd675c676a45f94b5aa8e17dd467a96e69923c9fa1b1481373a0c08bda87',X'588ad95a103690aecbef6e1c0faa01e25afafdaed15c62508a58f3a8f8096abf');
INSERT INTO journal VALUES(12,1795877906354,NULL,'operator','{"by":"root","did":"silenceSet","via":"command line","what":{"by":"root (command line)","cluster":"lab","condition":null,"id":"a78556bc-9e96-4be6-8775-1de13eb9e7ad","made":"2026-11-28T14:58:26.354371593Z","note":"noisy","subject":"lxc/200","when":{"from":"2026-11-28T14:58:26.354371593Z","until":"2026-11-28T18:58:26.354371593Z"}}}',X'd403c253be087e829a8ab673ffc906ea1e13a577639604212de471e9d5f1e0b8',X'98df582735a839b5f90fb87010d4a2c7cdf26c7569e3bbe9b6aa5893fa806235');
INSERT INTO journal VALUES(13,1795877906481,NULL,'operator','{"by":"root","did":"killSwitch","via":"command line","what":{"changed":true,"key":"autonomy.killSwitch","new":"true","old":null}}',X'b8e50843f9f79f4df9691fa7d3ab7bb7ffc789fd8797ed8c40710fd7e0c53483',X'b8a115d5cf5ea133bceb6403fc5047ef4d50a21c4e1f6e29d693d150def99308');
CREATE TABLE journal_anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    clusters TEXT,
    password TEXT,
    created_ms INTEGER NOT NULL,
    disabled_ms INTEGER
) STRICT;
INSERT INTO users VALUES('admin','admin',NULL,NULL,1795877855277,NULL);
CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    clusters TEXT,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    last_used_ms INTEGER,
    revoked_ms INTEGER
) STRICT;
CREATE TABLE sessions (
    digest BLOB PRIMARY KEY,
    user TEXT NOT NULL,
    cookie INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE known_peers (
    user TEXT NOT NULL,
    peer TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (user, peer)
) STRICT;
CREATE TABLE incidents (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    cluster TEXT NOT NULL,
    condition TEXT NOT NULL,
    severity TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT,
    node TEXT,
    group_id TEXT,
    opened_ms INTEGER NOT NULL,
    turned_ms INTEGER,
    resolved_ms INTEGER,
    resolution TEXT,
    details TEXT
) STRICT;
INSERT INTO incidents VALUES(1,'e0302218-83dc-810f-a44c-b062c05d9aa0','lab','VM_CRASHED','error','qemu/101','web01','pve1',NULL,1795877863373,NULL,1795877893765,'mended','{"target":"web01","previousState":"running","currentState":"stopped"}');
CREATE TABLE incident_entries (
    incident INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    PRIMARY KEY (incident, journal_seq)
) STRICT, WITHOUT ROWID;
INSERT INTO incident_entries VALUES(1,3);
INSERT INTO incident_entries VALUES(1,4);
INSERT INTO incident_entries VALUES(1,6);
INSERT INTO incident_entries VALUES(1,7);
INSERT INTO incident_entries VALUES(1,8);
INSERT INTO incident_entries VALUES(1,9);
CREATE TABLE outbox_channels (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    least TEXT NOT NULL,
    in_use INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since_ms INTEGER,
    next_try_ms INTEGER,
    reported_ms INTEGER,
    last_ok_ms INTEGER,
    last_error TEXT,
    last_error_ms INTEGER,
    delivered INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    untold INTEGER NOT NULL DEFAULT 0,
    told_event INTEGER
) STRICT;
INSERT INTO outbox_channels VALUES('mail:admin@example.org','mail','error',1,2,1795877893378,1795877933384,NULL,NULL,'the server is not reached: Connection error: Connection refused (os error 111)',1795877903384,0,0,0,0,0,NULL);
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel TEXT NOT NULL,
    urgency TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    event INTEGER NOT NULL,
    cluster TEXT,
    incident TEXT,
    content TEXT NOT NULL,
    action INTEGER,
    message TEXT,
    tries INTEGER NOT NULL DEFAULT 0,
    delivered_ms INTEGER,
    gave_up_ms INTEGER,
    last_error TEXT
) STRICT;
INSERT INTO outbox VALUES(1,'mail:admin@example.org','report',1795877863373,1,'lab','e0302218-83dc-810f-a44c-b062c05d9aa0','{"at":"2026-11-28T14:57:43.373Z","seq":1,"id":"a8a5303d-8c70-4817-ac60-875c6907400d","severity":"error","title":"VM web01 (101) crashed","message":"VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)","cluster":"lab","node":"pve1","condition":"VM_CRASHED","subject":"qemu/101","target":"web01","incidentId":"e0302218-83dc-810f-a44c-b062c05d9aa0","over":false}',NULL,'033e0110-7c30-4bf0-a93a-7861f4548e9c',2,NULL,NULL,'the server is not reached: Connection error: Connection refused (os error 111)');
INSERT INTO outbox VALUES(2,'mail:admin@example.org','report',1795877893765,4,'lab','e0302218-83dc-810f-a44c-b062c05d9aa0','{"at":"2026-11-28T14:58:13.765Z","seq":4,"id":"1a81dd76-e7af-4194-89a5-c50bb020e819","severity":"info","title":"Resolved: VM_CRASHED on pve1","message":"VM web01 (101) on pve1: running again, mended by Jarvis after 0:30","cluster":"lab","node":"pve1","condition":"VM_CRASHED","subject":"qemu/101","target":"web01","incidentId":"e0302218-83dc-810f-a44c-b062c05d9aa0","over":true}',NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO outbox VALUES(3,'mail:admin@example.org','report',1795877906481,8,NULL,NULL,'{"at":"2026-11-28T14:58:26.481Z","seq":8,"id":"fecc6458-290a-4c9b-8ca7-922116777ddb","severity":"warning","title":"KILL SWITCH ACTIVATED","message":"root (command line) stopped everything that Jarvis does on its own","over":false}',NULL,NULL,0,NULL,NULL,NULL);
CREATE TABLE notices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    cluster TEXT,
    about TEXT NOT NULL,
    condition TEXT,
    note TEXT NOT NULL,
    made_by TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    from_ms INTEGER,
    until_ms INTEGER,
    days TEXT,
    at_local TEXT,
    minutes INTEGER,
    zone TEXT,
    ended_ms INTEGER,
    ended_by TEXT
) STRICT;
INSERT INTO notices VALUES(1,'1df36485-caf9-423a-8431-ca6d9cfd46b4','maintenance','lab','node/pve2',NULL,'new memory','root (command line)',1795877906282,1795877906282,1795885106282,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO notices VALUES(2,'8a5d93e1-f6f2-4a6c-91f3-ebbd77ab2265','maintenance','lab','node/pve1',NULL,'patches','root (command line)',1795877906317,NULL,NULL,'sun','02:00:00',180,'Europe/Berlin',NULL,NULL);
INSERT INTO notices VALUES(3,'a78556bc-9e96-4be6-8775-1de13eb9e7ad','silence','lab','lxc/200',NULL,'noisy','root (command line)',1795877906354,1795877906354,1795892306354,NULL,NULL,NULL,NULL,NULL,NULL);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('incidents',1);
INSERT INTO sqlite_sequence VALUES('events',8);
INSERT INTO sqlite_sequence VALUES('outbox',3);
INSERT INTO sqlite_sequence VALUES('autonomy_actions',1);
INSERT INTO sqlite_sequence VALUES('notices',3);
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
CREATE INDEX idx_incidents_id ON incidents(substr(id, 1, 6));
CREATE INDEX idx_incidents_opened ON incidents(opened_ms);
CREATE INDEX idx_incidents_open ON incidents(opened_ms) WHERE resolved_ms IS NULL;
CREATE INDEX idx_incidents_resolved ON incidents(resolved_ms) WHERE resolved_ms IS NOT NULL;
CREATE INDEX idx_events_severity_time ON events(severity, timestamp);
CREATE INDEX idx_events_source_time ON events(source, timestamp) WHERE source <> 'monitor';
CREATE INDEX idx_actions_key_time ON autonomy_actions(incident_key, timestamp);
CREATE INDEX idx_actions_incident_time ON autonomy_actions(incident_id, timestamp);
CREATE INDEX idx_actions_node_time ON autonomy_actions(node, timestamp) WHERE node IS NOT NULL;
CREATE INDEX idx_actions_result_time ON autonomy_actions(result, timestamp);
CREATE INDEX idx_actions_condition_time ON autonomy_actions(condition, timestamp);
CREATE INDEX idx_actions_cluster_time ON autonomy_actions(cluster, timestamp) WHERE cluster IS NOT NULL;
CREATE INDEX idx_journal_time ON journal(at_ms);
CREATE INDEX idx_journal_kind_time ON journal(kind, at_ms);
CREATE INDEX idx_outbox_waiting ON outbox(channel, urgency, id)
    WHERE delivered_ms IS NULL AND gave_up_ms IS NULL;
CREATE INDEX idx_outbox_done ON outbox(made_ms);
CREATE INDEX idx_notices_open ON notices(made_ms) WHERE ended_ms IS NULL;
COMMIT;
