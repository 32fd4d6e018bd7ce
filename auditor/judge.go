package auditor

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/trouble"
)

// judge feeds what is stored to package correlate and says on FINDINGS what
// comes of it. Its memory is only a shortcut: all of it is in ClickHouse.
type judge struct {
	a     *Auditor
	held  func() bool // whether it is still this one's to judge
	state *correlate.State
	say   *sayer
	in    chan portion
	trail chan portion // of CLOUDTRAIL
	next  *portion     // of CLOUDTRAIL, taken and not given to the state yet

	feeds map[string]*feed // by stream
	// crowded: many requests wait for records of which many are to come, and these not
	// for AUDIT.
	crowded atomic.Bool
	// farBehind is when something was last handed over of AUDIT that is (Unix nanoseconds).
	farBehind atomic.Int64
	ended     chan struct{} // closed when nobody takes portions any more

	done    map[string]uint64 // by stream: everything up to it was given to the state
	ends    map[string]uint64 // by stream: where it ended when that was last looked at
	newest  time.Time         // when the newest request was received that was given to the state
	sampled map[string]sample
	known   map[string]time.Time // by stream: everything up to then was given to the state
	marked  map[string]uint64    // the marks that are written down
	marking *marking             // that are to be written down
	writing time.Time            // when that began last
}

// portion is what the judge reads of a stored batch.
type portion struct {
	stream  string
	told    []any              // correlate.Request, withdrawn or events.Event, in their order
	records []correlate.Record // of CLOUDTRAIL
	floor   uint64
}

// withdrawn is the id of a request that failed before AWS saw it.
type withdrawn string

// marking is marks that may be written down once what was said before is durable.
type marking struct {
	marks   map[string]uint64
	durable <-chan struct{}
}

// sample remembers where a stream ended at a time.
type sample struct {
	at   time.Time
	last uint64
}

const (
	judgeEvery = 200 * time.Millisecond
	// trailMark is the name of the judge's place in the CLOUDTRAIL stream.
	trailMark = "judge/" + events.CloudTrail
	// auditMark is its place in the AUDIT stream: requests before it are settled.
	auditMark = "judge/" + events.Audit
	// markEvery bounds how often they are written down.
	markEvery = 2 * time.Second
	// muchToCome is how far the judge is behind AUDIT where records wait until the
	// requests of their time came; recordsAfter is by how much these may be later.
	muchToCome   = 3 * batchEntries
	recordsAfter = 2 * time.Second
	// openAtMost is how many requests may wait for records that are to come before
	// AUDIT waits for these: below what the state holds whole.
	openAtMost = 20_000
	// earlyAtMost is how many records may wait for the requests of their time.
	earlyAtMost = 20_000
	// sayAhead is how many verdicts may not be in ClickHouse yet. It is below
	// what the state remembers, so what the state forgot the store has.
	sayAhead = 20_000
)

func newJudge(a *Auditor, held func() bool) *judge {
	j := &judge{
		a:       a,
		held:    held,
		state:   correlate.New(correlate.Config{TrailDelay: a.c.TrailDelay, Skew: a.c.Skew}),
		say:     newSayer(a, held),
		in:      make(chan portion, 1),
		trail:   make(chan portion, 1),
		marked:  map[string]uint64{},
		done:    map[string]uint64{},
		ends:    map[string]uint64{},
		sampled: map[string]sample{},
		known:   map[string]time.Time{},
		feeds:   map[string]*feed{},
		ended:   make(chan struct{}),
	}
	for _, stream := range judgedStreams() {
		j.feeds[stream] = &feed{}
	}
	return j
}

func (j *judge) run(ctx context.Context) error {
	var others sync.WaitGroup
	defer others.Wait()
	defer close(j.ended)
	others.Go(func() { j.say.run(ctx) })
	var said trouble.Said
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := j.start(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		if said.News(err) {
			j.a.c.Log.Warn().Err(err).Msg("judge can't start; trying again")
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
	for _, stream := range judgedStreams() {
		others.Go(func() { j.follow(ctx, stream) })
	}
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	for {
		var p portion
		trail := j.trail
		if j.next != nil {
			trail = nil
		}
		if j.next != nil && j.timely(j.next) {
			p, j.next = *j.next, nil
		} else {
			select {
			case <-ctx.Done():
				return nil
			case p = <-j.in:
			case p = <-trail:
				j.next = &p
				j.crowd()
				continue
			case <-tick.C:
				switch err := j.advance(ctx); {
				case ctx.Err() != nil:
				case err == nil && said.Over():
					j.a.c.Log.Info().Msg("judge: it goes on")
				case err != nil && said.News(err):
					j.a.c.Log.Warn().Err(err).Msg("judge; trying again")
				}
				continue
			}
		}
		if !j.accept(ctx, p) {
			return nil
		}
	}
}

// timely says whether records may be given to the state: not while they wait for AUDIT,
// nor while ClickHouse does not have what was said of others.
func (j *judge) timely(p *portion) bool {
	return j.say.ahead() <= sayAhead && !j.waitsForAudit(p)
}

// waitsForAudit says whether records wait for requests: while many do already, and, while
// there is much of AUDIT to come, until the requests of their time came: then each finds
// its own in memory.
func (j *judge) waitsForAudit(p *portion) bool {
	if j.state.Early() > earlyAtMost {
		return true
	}
	if j.ends[events.Audit] <= j.done[events.Audit]+muchToCome {
		return false
	}
	for i := range p.records {
		if p.records[i].EventTime.Add(recordsAfter).After(j.newest) {
			return true
		}
	}
	return false
}

// accept gives a portion to the state and has said what follows; false when ctx ended.
func (j *judge) accept(ctx context.Context, p portion) bool {
	if !j.say.say(ctx, j.feed(p, time.Now())) {
		return false
	}
	j.done[p.stream] = max(j.done[p.stream], p.floor)
	j.crowd()
	return true
}

// crowd says whether AUDIT is to wait for CLOUDTRAIL: not for records that wait for it.
func (j *judge) crowd() {
	j.crowded.Store((j.next == nil || !j.waitsForAudit(j.next)) && j.state.Open() > openAtMost &&
		j.ends[events.CloudTrail] > j.done[events.CloudTrail]+3*batchRecords)
}

// feed gives a portion to the state.
func (j *judge) feed(p portion, now time.Time) []correlate.Judgement {
	var out []correlate.Judgement
	for _, told := range p.told {
		switch d := told.(type) {
		case correlate.Request:
			out = append(out, j.state.AddRequest(d, now)...)
			if d.ReceivedAt.After(j.newest) {
				j.newest = d.ReceivedAt
			}
		case withdrawn:
			j.state.Withdraw(string(d))
		case events.Event:
			out = append(out, j.tell(&d)...)
		}
	}
	for i := range p.records {
		out = append(out, j.state.AddRecord(p.records[i], now)...)
	}
	return out
}

// tell tells the state of sessions, locks, credentials and trails.
func (j *judge) tell(e *events.Event) []correlate.Judgement {
	switch d := e.Data.(type) {
	case *events.SessionStarted:
		j.state.AddIdentity(identity(d.AWSRoleARN, d.RoleSessionName), d.SourceIdentity, d.User)
		j.state.AddSession(session(d))
	case *events.SessionEnded:
		return j.state.EndSession(d.SessionID, e.Time)
	case *events.LockPlaced:
		return j.state.AddLock(lock(d, e.Time))
	case *events.LockLifted:
		j.state.LiftLock(d.LockID, e.Time)
	case *events.CloudTrailTrailObserved:
		j.addTrail(d)
	case *events.AWSCredentialsIssued:
		j.state.AddCredential(credential(d))
	case *events.AWSConsoleOpened:
		j.state.AddCredential(correlate.Credential{AccessKeyID: d.AccessKeyID, Console: true, SessionID: d.SessionID, User: d.User, Account: d.Account,
			RoleARN: d.AWSRoleARN, SessionName: d.RoleSessionName, IssuedAt: e.Time, ExpiresAt: d.ExpiresAt})
	case *events.AWSTokenIssued:
		j.state.AddToken(token(d))
	}
	return nil
}

// advance judges what can be judged now, and writes down how far that is.
func (j *judge) advance(ctx context.Context) error {
	if err := j.judge(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return j.mark(ctx)
}

// judge judges what can be judged now.
func (j *judge) judge(ctx context.Context) error {
	if j.say.ahead() > sayAhead {
		return nil
	}
	now := time.Now()
	for _, stream := range judgedStreams() {
		if err := j.watermark(ctx, stream, now); err != nil {
			return err
		}
	}
	requests := j.known[events.Audit]
	if sessions := j.known[events.Access]; sessions.Before(requests) {
		requests = sessions // whose sessions, and locks, are known too
	}
	for again := true; again && ctx.Err() == nil; again = j.state.Behind() && j.say.ahead() <= sayAhead {
		out, err := j.state.Advance(correlate.Clock{Now: now, Requests: requests, Records: j.known[events.CloudTrail]},
			func(d correlate.Doubt) (correlate.Found, error) { return recall(ctx, j.a.store.Conn(), d) })
		if !j.say.say(ctx, out) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	open, _ := j.state.Sizes()
	j.a.open.Store(int64(open))
	return nil
}

// watermark finds out up to when a stream is known: everything that it had at
// some time is, once its last sequence of that time has been fed.
func (j *judge) watermark(ctx context.Context, stream string, now time.Time) error {
	s, open := j.sampled[stream]
	if !open {
		last, err := j.a.c.Journal.Last(ctx, stream)
		if err != nil {
			return err
		}
		s = sample{now, last}
		j.sampled[stream], j.ends[stream] = s, last
	}
	if j.done[stream] >= s.last {
		j.known[stream] = s.at
		delete(j.sampled, stream)
	}
	return nil
}

// mark writes down up to where AUDIT and CLOUDTRAIL are judged, once what was said of
// that is durable.
func (j *judge) mark(ctx context.Context) error {
	if j.marking == nil {
		if time.Since(j.writing) < markEvery {
			return nil
		}
		j.writing = time.Now()
		marks := map[string]uint64{}
		for name, low := range map[string]uint64{trailMark: j.state.OldestPending(), auditMark: j.state.OldestOpen()} {
			at := j.done[strings.TrimPrefix(name, "judge/")]
			if low > 0 {
				at = min(at, low-1)
			}
			if at > j.marked[name] {
				marks[name] = at
			}
		}
		if len(marks) == 0 {
			return nil
		}
		j.marking = &marking{marks, j.say.durable(ctx)}
	}
	select {
	case <-j.marking.durable:
	default:
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(j.marking.marks)) { // what fails is the same again
		at := j.marking.marks[name]
		if err := j.a.store.SetMark(ctx, name, at); err != nil {
			return err
		}
		j.marked[name] = at
	}
	j.marking = nil
	return nil
}

func request(r *events.AWSRequest, o correlate.Outcome, seq uint64) correlate.Request {
	return correlate.Request{
		ID: r.RequestID, ReceivedAt: r.ReceivedAt, Outcome: o, User: r.User, Account: r.Account, RoleARN: r.AWSRoleARN,
		SessionName: r.RoleSessionName, SourceIdentity: r.SourceIdentity, AccessKeyID: r.AccessKeyID, Service: r.Service,
		SigningName: r.SigningName, Operation: r.Operation, Seq: seq, Region: r.Region, SessionID: r.SessionID, Proxy: r.Proxy,
		ReadOnly: correlate.ReadOnly(r.Service, r.Operation, r.AccessLevel), Resources: r.Resources,
	}
}

func credential(d *events.AWSCredentialsIssued) correlate.Credential {
	return correlate.Credential{
		AccessKeyID: d.AccessKeyID, RoleID: roleID(d.AssumedRoleID),
		Console: d.Use == "console", HandedOut: d.HandedOut || d.Use == "export", SessionID: d.SessionID, User: d.User, Account: d.Account, RoleARN: d.AWSRoleARN,
		SessionName: d.RoleSessionName, SourceIdentity: d.SourceIdentity, IssuedAt: d.IssuedAt, ExpiresAt: d.ExpiresAt,
	}
}

// roleID is AROA… of AROA…:SESSION.
func roleID(assumed string) string {
	id, _, _ := strings.Cut(assumed, ":")
	return id
}

func session(d *events.SessionStarted) correlate.Session {
	s := correlate.Session{ID: d.SessionID, User: d.User, App: d.App, RoleARN: d.AWSRoleARN, Account: d.Account,
		AccessRequests: d.RequestIDs, Device: d.Device, EndsAt: d.ExpiresAt, Roles: slices.Clone(d.OtherRoles)}
	for _, r := range d.Roles {
		s.Roles = append(s.Roles, r.Name)
	}
	return s
}

func lock(d *events.LockPlaced, at time.Time) correlate.Lock {
	l := correlate.Lock{ID: d.LockID, Kind: d.Target.Kind, Name: d.Target.Name, PlacedAt: at}
	if d.ExpiresAt != nil {
		l.Until = *d.ExpiresAt
	}
	return l
}

func token(d *events.AWSTokenIssued) correlate.Token {
	return correlate.Token{
		AccessKeyID: d.AccessKeyID, RequestID: d.RequestID, Kind: d.Kind, User: d.User, SessionID: d.SessionID, Service: d.Service,
		SigningName: d.SigningName, Operation: d.Operation, Resources: d.Resources, IssuedAt: d.ReceivedAt, ExpiresAt: d.ExpiresAt,
	}
}

func (j *judge) addTrail(d *events.CloudTrailTrailObserved) {
	selectors, err := correlate.ParseSelectors(d.EventSelectors, d.AdvancedEventSelectors)
	if err != nil { // then its requests are missing rather than not logged
		j.a.c.Log.Warn().Err(err).Str("trail", d.TrailARN).Msg("a trail's selectors can't be read")
		selectors = nil
	}
	j.state.AddTrail(correlate.Trail{ARN: d.TrailARN, Account: d.Account, HomeRegion: d.HomeRegion, MultiRegion: d.MultiRegion, Organization: d.Organization, Selectors: selectors})
}

// refusals are parts of the error codes by which AWS does not let a caller: for want of
// permission, and of credentials that are valid, or valid still
// (https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html,
// https://docs.aws.amazon.com/ec2/latest/devguide/errors-overview.html,
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList).
var refusals = []string{
	"AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden", "AuthFailure", "AllAccessDisabled", "AccountProblem", "OptInRequired",
	"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidClientTokenId", "UnrecognizedClient", "InvalidAccessKeyId", "MissingAuthenticationToken",
	"SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature", "RequestExpired", "RequestTimeTooSkewed",
}

// refused says that AWS did not let the caller, by a record's errorCode.
func refused(code string) bool {
	return code != "" && slices.ContainsFunc(refusals, func(s string) bool { return strings.Contains(code, s) })
}

// awsInternal is a source address, and a service, of which CloudTrail does not say which.
const awsInternal = "AWS Internal"

// byService names the AWS service that acted for an identity: some records say
// so by their source address only, which a caller can't choose
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html).
// Calls that people make in the console have "AWS Internal" there, too, and are told by
// a field that records have since version 1.08.
func byService(invokedBy, sourceIP, version string, fromConsole bool) string {
	if invokedBy == "" && (strings.HasSuffix(sourceIP, ".amazonaws.com") || sourceIP == awsInternal && !fromConsole && version >= "1.08") {
		return sourceIP
	}
	return invokedBy
}

// consoleTypes are the types of events that nobody makes but in the console. Their records
// need not say sessionCredentialFromConsole
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html).
var consoleTypes = []string{"AwsConsoleAction", "AwsConsoleSignIn"}

func identity(roleARN, session string) correlate.Identity {
	return correlate.IdentityOf(roleARN, session)
}

// record reads what is compared of a CloudTrail record. When the stream took it is not:
// that would not be the same at another delivery.
func record(d *events.CloudTrailRecordReceived, seq uint64) (correlate.Record, bool) {
	r, err := cloudtrail.Parse(d.Record)
	if err != nil {
		return correlate.Record{}, false
	}
	user, _ := r.Identity.User()
	fromConsole := r.FromConsole || slices.Contains(consoleTypes, r.EventType)
	out := correlate.Record{
		Account: d.RecipientAccountID, EventID: d.EventID, SharedEventID: string(r.SharedEventID), RequestID: cmp.Or(r.OriginalRequestID, r.RequestID),
		EventTime: r.EventTime, EventSource: string(r.EventSource), EventName: string(r.EventName), SourceIdentity: string(r.Identity.Session.SourceIdentity),
		AccessKeyID: string(r.Identity.AccessKeyID), User: user, InvokedBy: byService(r.Identity.InvokedBy, r.SourceIPAddress, r.EventVersion, fromConsole), FromConsole: fromConsole,
		Refused: refused(r.ErrorCode), Resources: r.Resources,
		IssuedAccessKeyID: r.Response.IssuedAccessKeyID, Seq: seq,
	}
	setCaller(&out, &r.Identity)
	return out, true
}

// setCaller says as whom AWS saw the call. What the owner of a resource gets of a call
// from another account has the account and AROA…:SESSION alone
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
func setCaller(r *correlate.Record, i *cloudtrail.Identity) {
	r.RoleARN = i.RoleARN()
	r.IdentityAccount, r.RoleName, r.SessionName, _ = i.RoleSession()
	if i.Type == "AssumedRole" || i.Type == "AWSAccount" {
		id, session, ok := strings.Cut(i.PrincipalID, ":")
		if ok {
			r.RoleID = id
		}
		if r.SessionName == "" {
			r.SessionName = session
		}
	}
	if r.RoleName == "" && r.RoleARN != "" {
		of := identity(r.RoleARN, "")
		r.IdentityAccount, r.RoleName = of.Account, of.Role
	}
	if r.IdentityAccount == "" {
		r.IdentityAccount = i.AccountID
	}
}
