-- Schema 5, as a daemon left it that had started a crashed guest, stopped another one by hand, and has users, a token and a login.
-- Its key and the head of its journal lie beside it: 5.key, 5.head.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE jarvis_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
INSERT INTO jarvis_schema VALUES(1,'original','2026-11-28 13:52:58');
INSERT INTO jarvis_schema VALUES(2,'ours','2026-11-28 13:52:58');
INSERT INTO jarvis_schema VALUES(3,'journal','2026-11-28 13:52:58');
INSERT INTO jarvis_schema VALUES(4,'users','2026-11-28 13:52:58');
INSERT INTO jarvis_schema VALUES(5,'incidents','2026-11-28 13:52:58');
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
INSERT INTO events VALUES(1,'2026-11-28 13:53:07','alert','error','monitor','pve1','[Monitor] VM web01 (101) crashed: VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)','{"target":"web01","previousState":"running","currentState":"stopped"}',1,'2026-11-28 13:54:24','monitor','92766953-ea3b-48f8-b936-64c7c608c7e5','lab','VM_CRASHED','qemu/101','a3c39165-3b39-8dbc-99d4-b40e49c6189d','VM web01 (101) crashed','VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)',1795873987829,1795874064599);
INSERT INTO events VALUES(2,'2026-11-28 13:53:10','status','warning','monitor',NULL,'[Monitor] Cluster Degraded: cluster lab: 2 of 2 nodes online, 1 of 2 guests running, 1 incident open','{"target":"cluster"}',0,NULL,NULL,'43948b6b-f42d-4ff7-bfc4-2aaf89f149b3','lab',NULL,'cluster',NULL,'Cluster Degraded','cluster lab: 2 of 2 nodes online, 1 of 2 guests running, 1 incident open',1795873990099,NULL);
INSERT INTO events VALUES(3,'2026-11-28 13:53:10','action','info','user','pve2','[User] container dns (102) stopped by admin: admin (login): task UPID:pve2:000003EF:0A4CBC6F:6B0ADCC3:vzstop:102:jarvis@pve!act: ended: OK',NULL,1,'2026-11-28 13:53:10','user','dee24c63-e223-4f3e-a2e5-30f292a3f537','lab',NULL,'lxc/102',NULL,'container dns (102) stopped by admin','admin (login): task UPID:pve2:000003EF:0A4CBC6F:6B0ADCC3:vzstop:102:jarvis@pve!act: ended: OK',1795873990214,1795873990214);
INSERT INTO events VALUES(4,'2026-11-28 13:53:21','status','info','monitor','pve2','[Monitor] Container dns (102) stopped: Container dns (102) on pve2: running to stopped, by jarvis@pve!act (vzstop)','{"target":"dns","previousState":"running","currentState":"stopped","user":"jarvis@pve!act","upid":"UPID:pve2:000003EF:0A4CBC6F:6B0ADCC3:vzstop:102:jarvis@pve!act:"}',0,NULL,NULL,'7a59658e-9ff5-4c30-b55b-13442b4c9722','lab',NULL,'lxc/102',NULL,'Container dns (102) stopped','Container dns (102) on pve2: running to stopped, by jarvis@pve!act (vzstop)',1795874001890,NULL);
INSERT INTO events VALUES(5,'2026-11-28 13:53:22','action','info','monitor','pve1','[Monitor] Remediation starting- vm-crashed-restart: VM web01 (101) on pve1: start it on pve1, attempt 1 of 3 (vm-crashed-restart)','{"target":"web01"}',1,'2026-11-28 13:54:24','monitor','cd96c060-02e6-48bc-a5e8-6a6dc2df49e2','lab','VM_CRASHED','qemu/101','a3c39165-3b39-8dbc-99d4-b40e49c6189d','Remediation starting: vm-crashed-restart','VM web01 (101) on pve1: start it on pve1, attempt 1 of 3 (vm-crashed-restart)',1795874002963,1795874064599);
INSERT INTO events VALUES(6,'2026-11-28 13:54:19','status','warning','user',NULL,'[User] KILL SWITCH ACTIVATED: admin (login) stopped everything that Jarvis does on its own',NULL,1,'2026-11-28 13:54:19','user','646b18b8-dfea-48c5-bb40-f70d9fae3b8a',NULL,NULL,NULL,NULL,'KILL SWITCH ACTIVATED','admin (login) stopped everything that Jarvis does on its own',1795874059285,1795874059285);
INSERT INTO events VALUES(7,'2026-11-28 13:54:22','status','info','user',NULL,'[User] KILL SWITCH OFF: admin (login) lets Jarvis act again, as far as its level allows',NULL,1,'2026-11-28 13:54:22','user','7b58233d-cb54-4e81-a090-eddb8198665b',NULL,NULL,NULL,NULL,'KILL SWITCH OFF','admin (login) lets Jarvis act again, as far as its level allows',1795874062160,1795874062160);
INSERT INTO events VALUES(8,'2026-11-28 13:54:22','status','info','user',NULL,'[User] Autonomy level set to L2_RECOMMEND: admin (login) changed it from L3_ACT_REPORT',NULL,1,'2026-11-28 13:54:22','user','be560181-1783-426d-bdbd-660897e7c945',NULL,NULL,NULL,NULL,'Autonomy level set to L2_RECOMMEND','admin (login) changed it from L3_ACT_REPORT',1795874062169,1795874062169);
INSERT INTO events VALUES(9,'2026-11-28 13:54:22','status','warning','user',NULL,'[User] KILL SWITCH ACTIVATED: admin (login) stopped everything that Jarvis does on its own',NULL,1,'2026-11-28 13:54:22','user','848b0482-37c6-4d0f-a47f-c886ba63a438',NULL,NULL,NULL,NULL,'KILL SWITCH ACTIVATED','admin (login) stopped everything that Jarvis does on its own',1795874062172,1795874062172);
INSERT INTO events VALUES(10,'2026-11-28 13:54:24','alert','info','monitor','pve1','[Monitor] Resolved- VM_CRASHED on pve1: VM web01 (101) on pve1: running again, mended by Jarvis after 1:16','{"target":"web01","currentState":"resolved"}',1,'2026-11-28 13:54:24','monitor','467f319a-ce69-4183-a4ad-b6cf3a34b379','lab','VM_CRASHED','qemu/101','a3c39165-3b39-8dbc-99d4-b40e49c6189d','Resolved: VM_CRASHED on pve1','VM web01 (101) on pve1: running again, mended by Jarvis after 1:16',1795874064599,1795874064599);
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
INSERT INTO autonomy_actions VALUES(1,'2026-11-28 13:54:24','VM_CRASHED:101','a3c39165-3b39-8dbc-99d4-b40e49c6189d','vm-crashed-restart','VM_CRASHED','start','{"node":"pve1","type":"qemu","vmid":101}','success','task UPID:pve1:000003EF:08C1405E:6B0ADCD3:qmstart:101:jarvis@pve!act:','it has run for 1:00',3,'pve1',1,0,0,'lab',1795874064599);
CREATE TABLE preferences (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL DEFAULT (datetime('now'))
);
INSERT INTO preferences VALUES('autonomy.killSwitch','true','2026-11-28 13:54:22');
INSERT INTO preferences VALUES('autonomy.level','2','2026-11-28 13:54:22');
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
INSERT INTO checkpoints VALUES('lab',1795874065223,'{"version":1,"state":{"judged":{"critical":"2026-11-28T13:54:23.680763698Z","important":"2026-11-28T13:54:10.680956398Z","routine":"2026-11-28T13:53:08.68050831Z","background":"2026-11-28T13:53:13.681423229Z"},"judged_live":{"pve1":"2026-11-28T13:54:24.856481452Z"},"blind_rounds":0,"blind_by":null,"quorate":true,"frozen":false,"nodes":{"pve1":{"presence":"online","seen_at":"2026-11-28T13:54:23.688351524Z","member_since":"2026-11-28T13:53:03.692383917Z","online_since":"2026-11-28T13:53:03.692383917Z","booted_at":"2026-11-11T13:52:56.688351524Z","uptime":1468887,"moved_at":"2026-11-28T13:54:23.688351524Z","believed":true,"missing":0,"departure":null,"address":"None"},"pve2":{"presence":"online","seen_at":"2026-11-28T13:54:23.688351524Z","member_since":"2026-11-28T13:53:03.692383917Z","online_since":"2026-11-28T13:53:03.692383917Z","booted_at":"2026-11-08T13:52:57.719435039Z","uptime":1728082,"moved_at":"2026-11-28T13:54:19.719435039Z","believed":true,"missing":0,"departure":null,"address":"None"}},"guests":{"qemu/101":{"guest":{"name":"web01","node":"pve1","status":"Running","uptime":59,"io":3042171,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-28T13:54:24.59912605Z","alive_at":"2026-11-28T13:54:24.856481452Z","told_at":"2026-11-28T13:54:09.688351524Z","live":{"running":true,"at":"2026-11-28T13:54:24.856481452Z","uptime":60},"pid":2016,"had_io":true},"lxc/102":{"guest":{"name":"dns","node":"pve2","status":"Stopped","uptime":0,"io":0,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-28T13:54:23.688351524Z","alive_at":"2026-11-28T13:52:57.691537324Z","told_at":"2026-11-28T13:52:57.691537324Z","down_since":"2026-11-28T13:53:19.689383536Z"}},"storages":[],"suspects":{},"node_suspects":{},"service_suspects":{},"incidents":{"ids":{"state":17947636074178263041},"open":[]},"attempts":[[{"check":"GuestCrashed","subject":"qemu/101"},["2026-11-28T13:53:22.963479219Z"]]],"opened":[],"storm":null}}',19);
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    cluster TEXT,
    kind TEXT NOT NULL,
    entry TEXT NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO journal VALUES(1,1795873978651,NULL,'operator','{"by":"jarvis","did":"userAdded","via":"start","what":{"passwordTakenOver":false,"role":"admin","user":"admin"}}',X'0000000000000000000000000000000000000000000000000000000000000000',X'248c773044a88b6f946ca97f0f8222516e6e64bd53193441c2a265985c7b4625');
INSERT INTO journal VALUES(2,1795873984616,NULL,'operator','{"by":"admin","did":"passwordSet","via":"setup code","what":{"user":"admin"}}',X'248c773044a88b6f946ca97f0f8222516e6e64bd53193441c2a265985c7b4625',X'e320db3fdbd3627e070630403887b11cf1e54b62e6a59b34175110af6e5b5f99');
INSERT INTO journal VALUES(3,1795873984696,NULL,'operator','{"by":"admin","did":"userAdded","via":"login","what":{"clusters":["lab"],"role":"operator","user":"olga"}}',X'e320db3fdbd3627e070630403887b11cf1e54b62e6a59b34175110af6e5b5f99',X'08f34e5bc09d2a6f33d9e2bf449df5697078701aa394de2f55d1b946c37a565d');
INSERT INTO journal VALUES(4,1795873984779,NULL,'operator','{"by":"admin","did":"tokenAdded","via":"login","what":{"clusters":null,"name":"grafana","role":"viewer","token":"28059cb6-5e92-435a-a533-79c300919ea4","user":"admin"}}',X'08f34e5bc09d2a6f33d9e2bf449df5697078701aa394de2f55d1b946c37a565d',X'91629f422d175aaaef8f9407deee25ac34786ab80a82d33ac0f405c141b6ca1e');
INSERT INTO journal VALUES(5,1795873987829,'lab','opened','{"at":"2026-11-28T13:53:07.829291942Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Opened":{"incident":217679610170121715787717612860686604445,"finding":{"GuestCrashed":{"kind":"qemu","previous":"Running","trace":"Nothing"}}}}}',X'91629f422d175aaaef8f9407deee25ac34786ab80a82d33ac0f405c141b6ca1e',X'5aea4f67bea2583d628f26a6a42e880bab97f7ef65e6e8ad4df3e9ca68c29285');
INSERT INTO journal VALUES(6,1795873987829,'lab','held','{"at":"2026-11-28T13:53:07.829291942Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":217679610170121715787717612860686604445,"condition":"VM_CRASHED","step":{"Held":{"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"holds":[{"Grace":"2026-11-28T13:53:22.829291942Z"}],"runbook":"vm-crashed-restart","level":3}}}}}',X'5aea4f67bea2583d628f26a6a42e880bab97f7ef65e6e8ad4df3e9ca68c29285',X'e4bd4fb9f9261bad346ecdf60717cc772fec84cf6e13d70aa8ab926ddddcf452');
INSERT INTO journal VALUES(7,1795873987836,NULL,'operator','{"by":"admin","did":"toolAsked","via":"login","what":{"act":{"guest":"lxc/102","verb":"stop"},"cluster":"lab","id":"a97718b5-76f5-4c49-92dc-a32d3d7c6056","node":"pve2","subject":"container dns (102)","tool":"stop_container"}}',X'e4bd4fb9f9261bad346ecdf60717cc772fec84cf6e13d70aa8ab926ddddcf452',X'85c3c7b1f67cf8b72b2391d8f32c8cdb97c8a0be1746f944d0219069b82a9d35');
INSERT INTO journal VALUES(8,1795873987883,NULL,'operator','{"by":"admin","did":"toolBegun","via":"login","what":{"cluster":"lab","id":"a97718b5-76f5-4c49-92dc-a32d3d7c6056","node":"pve2","subject":"container dns (102)","tool":"stop_container","upid":"UPID:pve2:000003EF:0A4CBC6F:6B0ADCC3:vzstop:102:jarvis@pve!act:"}}',X'85c3c7b1f67cf8b72b2391d8f32c8cdb97c8a0be1746f944d0219069b82a9d35',X'4124451b6d238e94f45b26ec26eca25c41c095fc07eef1b7c4ca93efbd673d9d');
INSERT INTO journal VALUES(9,1795873990099,'lab','heartbeat','{"at":"2026-11-28T13:53:10.099044137Z","subject":"cluster","name":null,"node":null,"fact":{"Heartbeat":{"nodes_online":2,"nodes":2,"guests_running":1,"guests":2,"incidents":1}}}',X'4124451b6d238e94f45b26ec26eca25c41c095fc07eef1b7c4ca93efbd673d9d',X'7d9c1e3f4454e29bcd625d1d9d09cad975989f04b9f17b662f10b2f7a19941b9');
INSERT INTO journal VALUES(10,1795873990214,NULL,'operator','{"by":"admin","did":"toolEnded","via":"login","what":{"cluster":"lab","id":"a97718b5-76f5-4c49-92dc-a32d3d7c6056","node":"pve2","outcome":"done","subject":"container dns (102)","tool":"stop_container","upid":"UPID:pve2:000003EF:0A4CBC6F:6B0ADCC3:vzstop:102:jarvis@pve!act:","words":"task UPID:pve2:000003EF:0A4CBC6F:6B0ADCC3:vzstop:102:jarvis@pve!act: ended: OK"}}',X'7d9c1e3f4454e29bcd625d1d9d09cad975989f04b9f17b662f10b2f7a19941b9',X'19a5a3221d32bfe7dec1bd6fc5f01cb637b4d6691d3995fc03b42cf7ffc1e73f');
INSERT INTO journal VALUES(11,1795874001890,'lab','noted','{"at":"2026-11-28T13:53:21.890116828Z","subject":"lxc/102","name":"dns","node":"pve2","fact":{"Noted":{"GuestChanged":{"from":"Running","to":"Stopped","why":{"Task":{"user":"jarvis@pve!act","task":"vzstop","upid":"UPID:pve2:000003EF:0A4CBC6F:6B0ADCC3:vzstop:102:jarvis@pve!act:"}}}}}}',X'19a5a3221d32bfe7dec1bd6fc5f01cb637b4d6691d3995fc03b42cf7ffc1e73f',X'91b81c0111d04dc4594524456ff29101b0845efacc633e9198d593c3b925de4d');
INSERT INTO journal VALUES(12,1795874002963,'lab','intended','{"at":"2026-11-28T13:53:22.963479219Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":217679610170121715787717612860686604445,"condition":"VM_CRASHED","step":{"Intended":{"attempt":{"number":1,"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"runbook":"vm-crashed-restart","at":"2026-11-28T13:53:22.963479219Z","level":3},"of":3}}}}}',X'91b81c0111d04dc4594524456ff29101b0845efacc633e9198d593c3b925de4d',X'68f7cc68d6f9380e4cbd55573b4d1403ceb8d9f11a6afe5a54246801ce089723');
INSERT INTO journal VALUES(13,1795874004414,'lab','acted','{"at":"2026-11-28T13:53:24.414795784Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":217679610170121715787717612860686604445,"condition":"VM_CRASHED","step":{"Acted":{"attempt":{"number":1,"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"runbook":"vm-crashed-restart","at":"2026-11-28T13:53:22.963479219Z","level":3},"outcome":{"Done":{"upid":"UPID:pve1:000003EF:08C1405E:6B0ADCD3:qmstart:101:jarvis@pve!act:","said":"OK"}}}}}}}',X'68f7cc68d6f9380e4cbd55573b4d1403ceb8d9f11a6afe5a54246801ce089723',X'6467daa41530b479094371baa08fc34936d8fce65870b6325cb1dbfa910e23cc');
INSERT INTO journal VALUES(14,1795874059285,NULL,'operator','{"by":"admin","did":"killSwitch","via":"login","what":{"changed":true,"key":"autonomy.killSwitch","new":"true","old":null}}',X'6467daa41530b479094371baa08fc34936d8fce65870b6325cb1dbfa910e23cc',X'8763fca2fb4c46697c61d91d41acfba8dea6140c8a648a209d059ad98e1f4cde');
INSERT INTO journal VALUES(15,1795874062160,NULL,'operator','{"by":"admin","did":"killSwitch","via":"login","what":{"changed":true,"key":"autonomy.killSwitch","new":"false","old":"true"}}',X'8763fca2fb4c46697c61d91d41acfba8dea6140c8a648a209d059ad98e1f4cde',X'4470d92d72e6642dd1384e9f2c2be362ea3a908fa62506039e396635f9115e06');
INSERT INTO journal VALUES(16,1795874062169,NULL,'operator','{"by":"admin","did":"autonomyLevel","via":"login","what":{"changed":true,"key":"autonomy.level","new":"2","old":null}}',X'4470d92d72e6642dd1384e9f2c2be362ea3a908fa62506039e396635f9115e06',X'8b672423e8c6b83b822e0bffb567a784979a1408c0f002f6f22703bf9d552f29');
INSERT INTO journal VALUES(17,1795874062172,NULL,'operator','{"by":"admin","did":"killSwitch","via":"login","what":{"changed":true,"key":"autonomy.killSwitch","new":"true","old":"false"}}',X'8b672423e8c6b83b822e0bffb567a784979a1408c0f002f6f22703bf9d552f29',X'54b09bb758c637ae84a113cd9b6785d29a4315808e6752b63cb2d3684f82d649');
INSERT INTO journal VALUES(18,1795874064599,'lab','verified','{"at":"2026-11-28T13:54:24.59912605Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Remedy":{"incident":217679610170121715787717612860686604445,"condition":"VM_CRASHED","step":{"Verified":{"attempt":{"number":1,"action":{"StartGuest":{"guest":"qemu/101","node":"pve1"}},"runbook":"vm-crashed-restart","at":"2026-11-28T13:53:22.963479219Z","level":3},"helped":true,"words":"it has run for 1:00","upid":"UPID:pve1:000003EF:08C1405E:6B0ADCD3:qmstart:101:jarvis@pve!act:"}}}}}',X'54b09bb758c637ae84a113cd9b6785d29a4315808e6752b63cb2d3684f82d649',X'e7751c36ed37b6588a1728d7125eddb49a1571d1db338f14507c3f3ff53772fc');
INSERT INTO journal VALUES(19,1795874064599,'lab','resolved','{"at":"2026-11-28T13:54:24.59912605Z","subject":"qemu/101","name":"web01","node":"pve1","fact":{"Resolved":{"incident":217679610170121715787717612860686604445,"finding":{"GuestCrashed":{"kind":"qemu","previous":"Running","trace":"Nothing"}},"lasted":"PT1M16.769834108S","by":"Mended"}}}',X'e7751c36ed37b6588a1728d7125eddb49a1571d1db338f14507c3f3ff53772fc',X'acf8e87a4aa770b94c71f9c337c4314db814b25da2d681543a514ca1192ef49a');
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
    expires_ms INTEGER,
    last_used_ms INTEGER,
    revoked_ms INTEGER
) STRICT;
INSERT INTO api_tokens VALUES('28059cb6-5e92-435a-a533-79c300919ea4','admin','grafana',X'1be29f4a6e63aa5904560e52484a068974c762e1f759a4248ea13e4b38abbf80','viewer',NULL,1795873984779,NULL,NULL,NULL);
CREATE TABLE sessions (
    digest BLOB PRIMARY KEY,
    user TEXT NOT NULL,
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
INSERT INTO incidents VALUES(1,'a3c39165-3b39-8dbc-99d4-b40e49c6189d','lab','VM_CRASHED','error','qemu/101','web01','pve1',NULL,1795873987829,NULL,1795874064599,'mended','{"target":"web01","previousState":"running","currentState":"stopped"}');
CREATE TABLE incident_entries (
    incident INTEGER NOT NULL,
    journal_seq INTEGER NOT NULL,
    PRIMARY KEY (incident, journal_seq)
) STRICT, WITHOUT ROWID;
INSERT INTO incident_entries VALUES(1,5);
INSERT INTO incident_entries VALUES(1,6);
INSERT INTO incident_entries VALUES(1,12);
INSERT INTO incident_entries VALUES(1,13);
INSERT INTO incident_entries VALUES(1,18);
INSERT INTO incident_entries VALUES(1,19);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('incidents',1);
INSERT INTO sqlite_sequence VALUES('events',10);
INSERT INTO sqlite_sequence VALUES('autonomy_actions',1);
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
COMMIT;
