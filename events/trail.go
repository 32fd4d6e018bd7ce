package events

import "time"

// CloudTrailFileReceived says that a log file was read to its end and that its
// records are on the stream.
type CloudTrailFileReceived struct {
	File string `json:"file"`
	// Account and Region as the file's name has them.
	Account string `json:"account,omitempty"`
	Region  string `json:"region,omitempty"`
	Records int    `json:"records"`
	// SHA256 is of what is compressed, in hex: what a digest file vouches for.
	SHA256 string `json:"sha256"`
	ETag   string `json:"etag,omitempty"`
}

// CloudTrailMessageRejected is a message of a queue that was set aside.
type CloudTrailMessageRejected struct {
	Queue     string `json:"queue"`
	MessageID string `json:"message_id"`
	Body      string `json:"body"`
	Reason    string `json:"reason"`
	Receives  int    `json:"receives"`
}

// CloudTrailLetterReplayed says that what was set aside is taken in after all.
type CloudTrailLetterReplayed struct {
	// LetterID is the id of the event that set it aside.
	LetterID string `json:"letter_id"`
	By       string `json:"by"`
	Records  int    `json:"records"`
}

// Verdicts of CloudTrailDigestChecked.
const (
	DigestValid   = "valid"
	DigestInvalid = "invalid"
	DigestMissing = "missing"
)

// CloudTrailDigestChecked is what was found of one digest file
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-digest-file-structure.html).
type CloudTrailDigestChecked struct {
	Account    string `json:"account"`
	Region     string `json:"region"`
	Trail      string `json:"trail"`
	HomeRegion string `json:"home_region"`
	Bucket     string `json:"bucket"`
	Key        string `json:"key"`
	Backfill   bool   `json:"backfill"`
	// StartTime and EndTime are zero where the file could not be read.
	StartTime time.Time `json:"start_time,omitzero"`
	EndTime   time.Time `json:"end_time,omitzero"`
	Verdict   string    `json:"verdict"`
	// Reason says what is wrong: with the file, or with the time before it, that
	// no digest file covers.
	Reason string `json:"reason,omitempty"`
	// PreviousKey, Signature and SHA256 link the chain.
	PreviousKey string `json:"previous_key,omitempty"`
	Signature   string `json:"signature,omitempty"`
	SHA256      string `json:"sha256,omitempty"`
	// Content is the digest file, gzipped, in base64, and PublicKey the DER of
	// AWS's RSA key (PKCS #1) that its signature was verified by, in base64: so that
	// others can verify it when the bucket is gone. Absent where the file is not
	// valid or is long.
	Content   string `json:"content,omitempty"`
	PublicKey string `json:"public_key,omitempty"`
	// Logs counts the log files that it vouches for; LogsInvalid are those that
	// are not what it says.
	Logs        int          `json:"logs"`
	LogsInvalid []InvalidLog `json:"logs_invalid,omitempty"`
}

// InvalidLog is a log file that is not what its digest vouches for.
type InvalidLog struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

// CloudTrailTrailObserved is a trail as CloudTrail describes it.
type CloudTrailTrailObserved struct {
	TrailARN     string `json:"trail_arn"`
	Account      string `json:"account"`
	Name         string `json:"name"`
	HomeRegion   string `json:"home_region"`
	Bucket       string `json:"bucket"`
	Prefix       string `json:"prefix,omitempty"`
	MultiRegion  bool   `json:"multi_region"`
	Organization bool   `json:"organization"`
	Validation   bool   `json:"validation"`
	Logging      bool   `json:"logging"`
	// EventSelectors and AdvancedEventSelectors are CloudTrail's JSON.
	EventSelectors         string    `json:"event_selectors,omitempty"`
	AdvancedEventSelectors string    `json:"advanced_event_selectors,omitempty"`
	ObservedAt             time.Time `json:"observed_at"`
}

func (e *CloudTrailFileReceived) Channel() string {
	return channel("cloudtrail", "files", e.Account, e.Region)
}
func (e *CloudTrailFileReceived) Thing() string { return "file/" + e.File }
func (e *CloudTrailMessageRejected) Channel() string {
	return channel("cloudtrail", "rejected", "message", "unreadable")
}
func (e *CloudTrailMessageRejected) Thing() string { return "message/" + e.MessageID }
func (e *CloudTrailLetterReplayed) Channel() string {
	return channel("cloudtrail", "rejected", "letter", "replayed")
}
func (e *CloudTrailLetterReplayed) Thing() string { return "letter/" + e.LetterID }
func (e *CloudTrailDigestChecked) Channel() string {
	return channel("cloudtrail", "digests", e.Account, e.Region)
}
func (e *CloudTrailDigestChecked) Thing() string { return "digest/s3://" + e.Bucket + "/" + e.Key }
func (e *CloudTrailTrailObserved) Channel() string {
	return channel("cloudtrail", "trails", e.Account, e.HomeRegion)
}
func (e *CloudTrailTrailObserved) Thing() string { return "trail/" + e.TrailARN }
