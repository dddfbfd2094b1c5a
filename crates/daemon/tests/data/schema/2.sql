-- Schema 2, of the first version that watched: the original's rows, and the monitor's beside them. No journal yet.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  timestamp TEXT NOT NULL DEFAULT (datetime('now')),
  type TEXT NOT NULL CHECK(type IN ('alert', 'action', 'status', 'metric')),
  severity TEXT DEFAULT 'info' CHECK(severity IN ('info', 'warning', 'error', 'critical')),
  source TEXT CHECK(source IN ('monitor', 'user', 'jarvis', 'system')),
  node TEXT,
  summary TEXT NOT NULL,
  details TEXT,
  resolved INTEGER DEFAULT 0,
  resolved_at TEXT,
  resolved_by TEXT
, uuid TEXT, cluster TEXT, condition TEXT, subject TEXT, incident_id TEXT, title TEXT, message TEXT, at_ms INTEGER, resolved_ms INTEGER);
INSERT INTO events VALUES(1,'2024-03-01 02:10:44','alert','critical','monitor','pve1','[Monitor] Node pve1 offline: node/pve1: online to offline','{"target":"pve1","previousState":"online","currentState":"offline"}',1,'2024-03-01 02:19:02','monitor',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(2,'2024-03-05 11:00:00','alert','error','monitor','pve2','[Monitor] VM web01 (101) crashed: qemu/101 running to stopped','{"target": "web01", "previousState": "running",  "currentState": "stopped"}',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(3,'2024-03-05 11:05:00','status','info','monitor',NULL,'[Monitor] Systems Nominal: 3 nodes online',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(4,'2024-03-05 11:06:00','alert',NULL,NULL,NULL,'something',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(5,'2024-03-05 11:07:00','action','warning','jarvis','pve2','[Jarvis] 🔥 Remediation starting- vm-crashed: attempt 1: start_vm','{"vmid":101,',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(6,'2024-03-05 11:08:00','metric','info','system','pve3','[System] cpu:','42',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(7,'2024-03-05T11:09:00.250Z','status','info','user','pve3','','[]',1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(8,'soon','alert','warning','user','pve3','User: look at this',X'ff00fe',0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO events VALUES(9,'2026-11-24 02:17:22','status','info','monitor',NULL,'[Monitor] Systems Nominal: 2 of 2 nodes online, 2 of 2 guests running, nothing open','{"target":"cluster"}',0,NULL,NULL,'64f1c65d-a5b3-4cc2-b65b-11b7c9a4afcb','lab',NULL,'cluster',NULL,'Systems Nominal','2 of 2 nodes online, 2 of 2 guests running, nothing open',1795486642051,NULL);
INSERT INTO events VALUES(10,'2026-11-24 02:17:36','alert','error','monitor','pve1','[Monitor] VM web01 (101) crashed: VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)','{"target":"web01","previousState":"running","currentState":"stopped"}',1,'2026-11-24 02:18:07','monitor','38b57320-1d09-45b7-906e-54f866a08e34','lab','VM_CRASHED','qemu/101','a2162116-1e2e-8137-a9b5-42d8382fddba','VM web01 (101) crashed','VM web01 (101) on pve1: running to stopped, and no task asked for it (a crash, a kill, or a power-off from inside; the node''s journal does not say which)',1795486656811,1795486687653);
INSERT INTO events VALUES(11,'2026-11-24 02:17:52','status','warning','monitor',NULL,'[Monitor] Cluster Degraded: 2 of 2 nodes online, 0 of 2 guests running, 1 incident open','{"target":"cluster"}',0,NULL,NULL,'6d4aefe1-c62b-4d6a-88de-cdf4ddf5392a','lab',NULL,'cluster',NULL,'Cluster Degraded','2 of 2 nodes online, 0 of 2 guests running, 1 incident open',1795486672064,NULL);
INSERT INTO events VALUES(12,'2026-11-24 02:17:53','status','info','monitor','pve2','[Monitor] Container dns (200) stopped: Container dns (200) on pve2: running to stopped, by alice@pve (vzstop)','{"target":"dns","previousState":"running","currentState":"stopped","user":"alice@pve","upid":"UPID:pve2:000003EF:0A4CC5AC:6B04F3C7:vzstop:200:alice@pve:"}',0,NULL,NULL,'4dd48d7e-e39e-432d-bffd-7eeae0f7f11a','lab',NULL,'lxc/200',NULL,'Container dns (200) stopped','Container dns (200) on pve2: running to stopped, by alice@pve (vzstop)',1795486673820,NULL);
INSERT INTO events VALUES(13,'2026-11-24 02:18:07','alert','info','monitor','pve1','[Monitor] Resolved- VM_CRASHED on pve1: VM web01 (101) on pve1: running again after 0:30','{"target":"web01","currentState":"resolved"}',1,'2026-11-24 02:18:07','monitor','6cad4ba5-40e3-443d-96a0-b77d44594689','lab','VM_CRASHED','qemu/101','a2162116-1e2e-8137-a9b5-42d8382fddba','Resolved: VM_CRASHED on pve1','VM web01 (101) on pve1: running again after 0:30',1795486687653,1795486687653);
INSERT INTO events VALUES(14,'2026-11-24 02:18:22','status','info','monitor',NULL,'[Monitor] Systems Nominal: 2 of 2 nodes online, 1 of 2 guests running, nothing open','{"target":"cluster"}',0,NULL,NULL,'7573355a-9b1a-4836-be3a-066358ceb9ac','lab',NULL,'cluster',NULL,'Systems Nominal','2 of 2 nodes online, 1 of 2 guests running, nothing open',1795486702052,NULL);
CREATE TABLE autonomy_actions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  timestamp TEXT NOT NULL DEFAULT (datetime('now')),
  incident_key TEXT NOT NULL,
  incident_id TEXT NOT NULL,
  runbook_id TEXT NOT NULL,
  condition TEXT NOT NULL,
  action TEXT NOT NULL,
  action_args TEXT,
  result TEXT NOT NULL CHECK(result IN ('success', 'failure', 'blocked', 'escalated')),
  result_details TEXT,
  verification_result TEXT,
  autonomy_level INTEGER NOT NULL,
  node TEXT,
  attempt_number INTEGER NOT NULL DEFAULT 1,
  escalated INTEGER DEFAULT 0,
  email_sent INTEGER DEFAULT 0
, cluster TEXT, at_ms INTEGER);
INSERT INTO autonomy_actions VALUES(1,'2024-03-05 11:00:07','VM_CRASHED:101','5f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10','vm-crashed-restart','VM_CRASHED','start_vm','{"node":"pve2","vmid":101,"confirmed":true}','failure','guest is locked',NULL,3,'pve2',1,0,0,NULL,NULL);
INSERT INTO autonomy_actions VALUES(2,'2024-03-05 11:02:07','VM_CRASHED:101','5f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10','vm-crashed-restart','VM_CRASHED','start_vm','{"node":"pve2","vmid":101,"confirmed":true}','success','started','running',3,'pve2',2,0,1,NULL,NULL);
INSERT INTO autonomy_actions VALUES(3,'2024-03-05 11:02:09','VM_CRASHED:101','0e8d1f7a-93b2-4f0c-8a55-1d2c3b4a5f60','vm-crashed-restart','VM_CRASHED','start_vm',NULL,'blocked','cooldown',NULL,3,NULL,3,0,NULL,NULL,NULL);
INSERT INTO autonomy_actions VALUES(4,'2024-03-06 08:00:00','NODE_UNREACHABLE:pve1','c3c9a5b4-7a0e-4b1d-8f7e-6a5b4c3d2e1f','node-unreachable-wol','NODE_UNREACHABLE','wake_node','pve1','escalated',NULL,NULL,3,'pve1',3,1,1,NULL,NULL);
CREATE TABLE preferences (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  updated_at TEXT DEFAULT (datetime('now'))
);
INSERT INTO preferences VALUES('autonomy.killSwitch','false','2024-03-01 00:00:00');
INSERT INTO preferences VALUES('autonomy.level','3','2024-03-01 00:00:00');
INSERT INTO preferences VALUES('voice','Daniel 🎙',NULL);
CREATE TABLE cluster_snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  timestamp TEXT NOT NULL DEFAULT (datetime('now')),
  snapshot TEXT NOT NULL
, cluster TEXT, at_ms INTEGER);
INSERT INTO cluster_snapshots VALUES(1,'2024-03-05 11:00:00','{"nodes":[{"node":"pve1"}]}',NULL,NULL);
CREATE TABLE jarvis_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
INSERT INTO jarvis_schema VALUES(1,'original','2026-11-20 10:00:00');
INSERT INTO jarvis_schema VALUES(2,'ours','2026-11-21 10:00:00');
CREATE TABLE checkpoints (
    cluster TEXT PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;
INSERT INTO checkpoints VALUES('lab',1795486705831,'{"version":1,"state":{"judged":{"critical":"2026-11-24T02:18:23.641984786Z","important":"2026-11-24T02:18:21.643061943Z","routine":"2026-11-24T02:18:20.642654127Z","background":"2026-11-24T02:17:25.642624589Z"},"judged_live":{"pve1":"2026-11-24T02:18:24.707130051Z"},"blind_rounds":0,"quorate":true,"frozen":false,"nodes":{"pve1":{"presence":"online","seen_at":"2026-11-24T02:18:23.647671299Z","member_since":"2026-11-24T02:17:15.655289212Z","online_since":"2026-11-24T02:17:15.655289212Z","booted_at":"2026-11-07T02:17:08.649270239Z","uptime":1468867,"moved_at":"2026-11-24T02:18:15.649270239Z","believed":true,"missing":0,"departure":null},"pve2":{"presence":"online","seen_at":"2026-11-24T02:18:23.647671299Z","member_since":"2026-11-24T02:17:15.655289212Z","online_since":"2026-11-24T02:17:15.655289212Z","booted_at":"2026-11-04T02:17:11.647671299Z","uptime":1728072,"moved_at":"2026-11-24T02:18:23.647671299Z","believed":true,"missing":0,"departure":null}},"guests":{"qemu/101":{"guest":{"name":"web01","node":"pve1","status":"Running","uptime":16,"io":855473,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-24T02:18:23.647671299Z","alive_at":"2026-11-24T02:18:24.707130051Z","told_at":"2026-11-24T02:18:01.649270239Z","live":{"running":true,"at":"2026-11-24T02:18:24.707130051Z","uptime":25},"pid":2020,"had_io":true},"lxc/200":{"guest":{"name":"dns","node":"pve2","status":"Stopped","uptime":0,"io":0,"template":false,"lock":null,"ha":null,"tags":[]},"seen_at":"2026-11-24T02:18:23.647671299Z","alive_at":"2026-11-24T02:17:27.649563411Z","told_at":"2026-11-24T02:17:27.649563411Z","down_since":"2026-11-24T02:17:51.655364609Z"}},"storages":[["nfs","pve1"],["nfs","pve2"]],"suspects":{},"node_suspects":{},"service_suspects":{},"incidents":{"ids":{"state":4467515653894396194},"open":[]}}}');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('events',14);
INSERT INTO sqlite_sequence VALUES('autonomy_actions',4);
INSERT INTO sqlite_sequence VALUES('cluster_snapshots',1);
CREATE INDEX idx_events_timestamp ON events(timestamp);
CREATE INDEX idx_events_type ON events(type);
CREATE INDEX idx_events_node ON events(node);
CREATE INDEX idx_events_resolved ON events(resolved);
CREATE INDEX events_by_source ON events(source);
CREATE INDEX idx_autonomy_actions_timestamp ON autonomy_actions(timestamp);
CREATE INDEX idx_autonomy_actions_incident_key ON autonomy_actions(incident_key);
CREATE INDEX idx_autonomy_actions_result ON autonomy_actions(result);
CREATE INDEX idx_events_incident_id ON events(incident_id) WHERE incident_id IS NOT NULL;
CREATE INDEX idx_events_unresolved ON events(id) WHERE coalesce(resolved, 0) = 0
    AND NOT (source = 'monitor' AND type IN ('status', 'metric') AND incident_id IS NULL);
COMMIT;
