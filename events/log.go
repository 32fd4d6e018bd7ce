package events

// LogOpened says which key signs an auditor's transparency logs; docs/evidence.md
// says what they are.
type LogOpened struct {
	// Log is the name of the logs; that of stream S is called LOG/S.
	Log string `json:"log"`
	// Key is the verifier key, NAME+HASH+KEY (https://c2sp.org/signed-note).
	Key string `json:"key"`
}

// LogCheckpointed publishes what the transparency logs say of themselves. There
// is none about growth by these events alone.
type LogCheckpointed struct {
	Log         string          `json:"log"`
	Checkpoints []LogCheckpoint `json:"checkpoints"`
}

// LogCheckpoint is one stream's.
type LogCheckpoint struct {
	Stream string `json:"stream"`
	// Size is the number of leaves: the last sequence of the stream that it covers.
	Size uint64 `json:"size"`
	// Note is the signed checkpoint (https://c2sp.org/tlog-checkpoint).
	Note string `json:"note"`
}

func (e *LogOpened) Channel() string       { return channel("findings", "log") }
func (e *LogOpened) Thing() string         { return "log/" + e.Log }
func (e *LogCheckpointed) Channel() string { return channel("findings", "log") }
func (e *LogCheckpointed) Thing() string   { return "log/" + e.Log }
