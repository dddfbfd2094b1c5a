-- Schema 1: a file of the original on which our first migration has run.
-- A database as the original leaves it: its own schema (checks, index names) and some years of odd rows.

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
);
CREATE INDEX idx_events_timestamp ON events(timestamp);
CREATE INDEX idx_events_type ON events(type);
CREATE INDEX idx_events_node ON events(node);
CREATE INDEX idx_events_resolved ON events(resolved);
CREATE INDEX events_by_source ON events(source);

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
);
CREATE INDEX idx_autonomy_actions_timestamp ON autonomy_actions(timestamp);
CREATE INDEX idx_autonomy_actions_incident_key ON autonomy_actions(incident_key);
CREATE INDEX idx_autonomy_actions_result ON autonomy_actions(result);

CREATE TABLE preferences (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  updated_at TEXT DEFAULT (datetime('now'))
);

CREATE TABLE cluster_snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  timestamp TEXT NOT NULL DEFAULT (datetime('now')),
  snapshot TEXT NOT NULL
);

-- An old resolved one.
INSERT INTO events VALUES (1, '2024-03-01 02:10:44', 'alert', 'critical', 'monitor', 'pve1',
  '[Monitor] Node pve1 offline: node/pve1: online to offline', '{"target":"pve1","previousState":"online","currentState":"offline"}',
  1, '2024-03-01 02:19:02', 'monitor');
-- Not resolved.
INSERT INTO events VALUES (2, '2024-03-05 11:00:00', 'alert', 'error', 'monitor', 'pve2',
  '[Monitor] VM web01 (101) crashed: qemu/101 running to stopped', '{"target": "web01", "previousState": "running",  "currentState": "stopped"}',
  0, NULL, NULL);
-- A heartbeat, unresolved for ever.
INSERT INTO events VALUES (3, '2024-03-05 11:05:00', 'status', 'info', 'monitor', NULL,
  '[Monitor] Systems Nominal: 3 nodes online', NULL, 0, NULL, NULL);
-- NULL wherever the schema allows it.
INSERT INTO events VALUES (4, '2024-03-05 11:06:00', 'alert', NULL, NULL, NULL, 'something', NULL, NULL, NULL, NULL);
-- JSON cut off, an emoji, a colon in the message.
INSERT INTO events VALUES (5, '2024-03-05 11:07:00', 'action', 'warning', 'jarvis', 'pve2',
  '[Jarvis] 🔥 Remediation starting- vm-crashed: attempt 1: start_vm', '{"vmid":101,', 0, NULL, NULL);
-- JSON that is no object, and a colon that ends the line.
INSERT INTO events VALUES (6, '2024-03-05 11:08:00', 'metric', 'info', 'system', 'pve3',
  '[System] cpu:', '42', 0, NULL, NULL);
-- Another program's time, and an empty summary.
INSERT INTO events VALUES (7, '2024-03-05T11:09:00.250Z', 'status', 'info', 'user', 'pve3', '', '[]', 1, NULL, NULL);
-- Bytes where text belongs, and no time at all.
INSERT INTO events VALUES (8, 'soon', 'alert', 'warning', 'user', 'pve3', 'User: look at this', X'FF00FE', 0, NULL, NULL);

INSERT INTO autonomy_actions VALUES (1, '2024-03-05 11:00:07', 'VM_CRASHED:101', '5f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10',
  'vm-crashed-restart', 'VM_CRASHED', 'start_vm', '{"node":"pve2","vmid":101,"confirmed":true}', 'failure', 'guest is locked', NULL,
  3, 'pve2', 1, 0, 0);
INSERT INTO autonomy_actions VALUES (2, '2024-03-05 11:02:07', 'VM_CRASHED:101', '5f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10',
  'vm-crashed-restart', 'VM_CRASHED', 'start_vm', '{"node":"pve2","vmid":101,"confirmed":true}', 'success', 'started', 'running',
  3, 'pve2', 2, 0, 1);
INSERT INTO autonomy_actions VALUES (3, '2024-03-05 11:02:09', 'VM_CRASHED:101', '0e8d1f7a-93b2-4f0c-8a55-1d2c3b4a5f60',
  'vm-crashed-restart', 'VM_CRASHED', 'start_vm', NULL, 'blocked', 'cooldown', NULL, 3, NULL, 3, 0, NULL);
INSERT INTO autonomy_actions VALUES (4, '2024-03-06 08:00:00', 'NODE_UNREACHABLE:pve1', 'c3c9a5b4-7a0e-4b1d-8f7e-6a5b4c3d2e1f',
  'node-unreachable-wol', 'NODE_UNREACHABLE', 'wake_node', 'pve1', 'escalated', NULL, NULL, 3, 'pve1', 3, 1, 1);

INSERT INTO preferences VALUES ('autonomy.killSwitch', 'false', '2024-03-01 00:00:00');
INSERT INTO preferences VALUES ('autonomy.level', '3', '2024-03-01 00:00:00');
INSERT INTO preferences VALUES ('voice', 'Daniel 🎙', NULL);

INSERT INTO cluster_snapshots VALUES (1, '2024-03-05 11:00:00', '{"nodes":[{"node":"pve1"}]}');
CREATE TABLE jarvis_schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL) STRICT;
INSERT INTO jarvis_schema VALUES (1, 'original', '2026-11-20 10:00:00');
