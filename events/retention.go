package events

// RetentionSet says for how long an auditor keeps rows in ClickHouse, from now on.
// What is older may be gone on purpose; whatever else is missing was taken away.
// The streams and their logs keep everything. Durations are in seconds; 0 is for
// good.
type RetentionSet struct {
	// Database is the name of the auditor's database in ClickHouse.
	Database string `json:"database"`
	// Events is for the ledger's rows of AUDIT and CLOUDTRAIL, after their storage.
	Events int64 `json:"events_seconds"`
	// Requests is for calls and tunnels, after they began.
	Requests int64 `json:"requests_seconds"`
	// CloudTrail is for AWS's records, after their time.
	CloudTrail int64 `json:"cloudtrail_seconds"`
}

func (e *RetentionSet) Channel() string { return channel("findings", "retention") }
func (e *RetentionSet) Thing() string   { return "retention/" + e.Database }
