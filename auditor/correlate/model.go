package correlate

import (
	"strings"
	"time"

	"github.com/posternhq/postern/events"
)

// Outcome is what is known of a request's end.
type Outcome uint8

// The outcomes that AWS may have a record of. Denied requests, and those that
// failed before they were forwarded, have none and don't come here.
const (
	InFlight  Outcome = iota // admitted
	Completed                // AWS answered
	Failed                   // failed on the way: AWS may have seen it
)

// Request is our side.
type Request struct {
	ID         string
	ReceivedAt time.Time
	Outcome    Outcome
	User       string
	// Account, RoleARN, SessionName, SourceIdentity, AccessKeyID: as whom it was
	// forwarded.
	Account        string
	RoleARN        string
	SessionName    string
	SourceIdentity string
	AccessKeyID    string
	Service        string
	SigningName    string
	Operation      string
	AWSRequestID   string
	Region         string
	SessionID      string
	// Proxy is the name of the one that it came to.
	Proxy     string
	ReadOnly  bool
	Resources []string
	// Took is from its receipt to its end, 0 if unknown.
	Took time.Duration
	// Seq is its place in the AUDIT stream, 0 if unknown.
	Seq uint64
	// Verdict with its Detail, PairAccount, PairEvent and PairTime are what a store
	// remembers; empty for requests that come from the stream.
	Verdict     string
	Detail      string
	PairAccount string
	PairEvent   string
	PairTime    time.Time
}

// Record is AWS's side.
type Record struct {
	Account       string // recipientAccountId
	EventID       string
	SharedEventID string
	RequestID     string
	EventTime     time.Time
	EventSource   string
	EventName     string
	// IdentityAccount, RoleARN, RoleName, SessionName, SourceIdentity, AccessKeyID:
	// as whom AWS saw it. RoleName and SessionName are the parts of the assumed-role ARN.
	IdentityAccount string
	RoleARN         string
	RoleName        string
	SessionName     string
	SourceIdentity  string
	AccessKeyID     string
	// RoleID is AROA…, AWS's own name of the role, which is all that copies for other
	// accounts have of it.
	RoleID      string
	User        string
	InvokedBy   string
	FromConsole bool
	// Refused: AWS did not let the caller.
	Refused   bool
	Resources []string
	// IssuedAccessKeyID is the key that an AssumeRole gave out.
	IssuedAccessKeyID string
	// Seq is its place in the CLOUDTRAIL stream, 0 if unknown.
	Seq uint64
	// Verdict, and the rule that it follows from, are what a store remembers.
	Verdict string
	Rule    string
}

// Credential is what STS gave postern.
type Credential struct {
	AccessKeyID string
	Console     bool
	// HandedOut: the user has the secret too.
	HandedOut bool
	// PassedOn: not postern got it, but a call that went around it by a key of ours.
	PassedOn  bool
	SessionID string
	User      string
	Account   string
	RoleARN   string
	// RoleID as in Record, if STS told.
	RoleID         string
	SessionName    string
	SourceIdentity string
	IssuedAt       time.Time
	ExpiresAt      time.Time
}

// Token is a signature that postern gave to a user, for use without it.
type Token struct {
	AccessKeyID string
	RequestID   string
	// Kind is one of the Credential constants of events.
	Kind        string
	User        string
	SessionID   string
	Service     string
	SigningName string
	Operation   string
	Resources   []string
	IssuedAt    time.Time
	ExpiresAt   time.Time
}

// RecordID names a record among all.
type RecordID struct{ Account, EventID string }

// ID names the record.
func (r *Record) ID() RecordID { return RecordID{r.Account, r.EventID} }

// MayBe says that a request with a record's AWS request id may be its own.
func (r *Request) MayBe(rec *Record) bool {
	return agree(r.Account, rec.IdentityAccount) && agree(r.AccessKeyID, rec.AccessKeyID)
}

// Identity is what postern lends: a session name under a role of an account.
// Role is the role's name without its path, as in the assumed-role ARN.
type Identity struct{ Account, Role, Session string }

// roleName is the last part of a role's ARN, "" if it is none.
func roleName(arn string) string {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 || !strings.HasPrefix(p[5], "role/") {
		return ""
	}
	return p[5][strings.LastIndexByte(p[5], '/')+1:]
}

func roleAccount(arn string) string {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 {
		return ""
	}
	return p[4]
}

// Judgement is a verdict with what it does to findings; the ids of all of it
// follow from what it is about, so that saying it again is no news.
type Judgement struct {
	// Verdict is nil where only findings change.
	Verdict *events.VerdictReached
	Opened  []events.FindingOpened
	// Resolved are findings that the verdict makes moot.
	Resolved []events.FindingResolved
}

// VerdictID is the event id of a verdict.
func VerdictID(v *events.VerdictReached) string {
	return "verdict/" + v.Verdict + "/" + v.RequestID + "/" + v.RecipientAccountID + "/" + v.EventID
}

// FindingID is the id of the finding of a kind about a request or a record.
func FindingID(kind, requestID string, record RecordID) string {
	if requestID == "" || kind == bypassFinding || kind == unknownFinding {
		return kind + ":" + record.Account + "/" + record.EventID
	}
	return kind + ":" + requestID
}

// IdentityOf makes an Identity of a role's ARN and a session name.
func IdentityOf(roleARN, session string) Identity {
	return Identity{roleAccount(roleARN), roleName(roleARN), session}
}
