package auditor

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/posternhq/postern/auditor/cloudtrail"
	"github.com/posternhq/postern/auditor/correlate"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// judge feeds what is stored to package correlate and says on FINDINGS what
// comes of it. Its memory is only a shortcut: all of it is in ClickHouse.
type judge struct {
	a     *Auditor
	held  func() bool // whether it is still this one's to judge
	state *correlate.State
	in    chan portion
	trail chan portion // of CLOUDTRAIL, which waits while much of it is early

	feeds map[string]*feed // by stream
	ended chan struct{}    // closed when nobody takes portions any more

	done    map[string]uint64 // by stream: everything up to it was given to the state
	sampled map[string]sample
	known   map[string]time.Time // by stream: everything up to then was given to the state
	said    uint64               // the last sequence on FINDINGS of ours
	marked  map[string]uint64    // the marks that are written down
	writing time.Time            // when they were
}

// portion is a stored batch.
type portion struct {
	stream  string
	entries []journal.Entry
	floor   uint64
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
	// earlyAtMost is how many records may wait for the requests of their time.
	earlyAtMost = 20_000
	// sayAtOnce is how many verdicts wait for their acknowledgement at once.
	sayAtOnce = 512
	// sayAhead is how many verdicts may not be in ClickHouse yet. It is below
	// what the state remembers, so what the state forgot the store has.
	sayAhead = 20_000
)

func newJudge(a *Auditor, held func() bool) *judge {
	j := &judge{
		a:       a,
		held:    held,
		state:   correlate.New(correlate.Config{TrailDelay: a.c.TrailDelay, Skew: a.c.Skew}),
		in:      make(chan portion, 2),
		trail:   make(chan portion, 1),
		marked:  map[string]uint64{},
		done:    map[string]uint64{},
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
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer close(j.ended)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := j.start(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		j.a.c.Log.Warn().Err(err).Msg("judge can't start; trying again")
		if !sleep(ctx, pause) {
			return nil
		}
	}
	for _, stream := range judgedStreams() {
		feeding.Go(func() { j.follow(ctx, stream) })
	}
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	for {
		trail := j.trail
		if j.state.Early() > earlyAtMost {
			trail = nil
		}
		var p portion
		select {
		case <-ctx.Done():
			return nil
		case p = <-j.in:
		case p = <-trail:
		case <-tick.C:
			if err := j.advance(ctx); err != nil && ctx.Err() == nil {
				j.a.c.Log.Warn().Err(err).Msg("judge; trying again")
			}
			continue
		}
		if !j.say(ctx, j.feed(p, time.Now())) {
			return nil
		}
		j.done[p.stream] = max(j.done[p.stream], p.floor)
	}
}

// feed gives entries to the state.
func (j *judge) feed(p portion, now time.Time) []correlate.Judgement {
	var out []correlate.Judgement
	for i := range p.entries {
		switch d := p.entries[i].Data.(type) {
		case *events.SessionStarted:
			j.state.AddIdentity(identity(d.AWSRoleARN, d.RoleSessionName), d.SourceIdentity)
			j.state.AddSession(session(d))
		case *events.SessionEnded:
			out = append(out, j.state.EndSession(d.SessionID, p.entries[i].Time)...)
		case *events.LockPlaced:
			out = append(out, j.state.AddLock(lock(d, p.entries[i].Time))...)
		case *events.LockLifted:
			j.state.LiftLock(d.LockID, p.entries[i].Time)
		case *events.CloudTrailTrailObserved:
			j.addTrail(d)
		case *events.AWSCredentialsIssued:
			j.state.AddCredential(credential(d))
		case *events.AWSConsoleOpened:
			j.state.AddCredential(correlate.Credential{AccessKeyID: d.AccessKeyID, Console: true, SessionID: d.SessionID, User: d.User, Account: d.Account,
				RoleARN: d.AWSRoleARN, SessionName: d.RoleSessionName, IssuedAt: p.entries[i].Time, ExpiresAt: d.ExpiresAt})
		case *events.AWSTokenIssued:
			j.state.AddToken(token(d))
		case *events.AWSRequestAdmitted:
			out = append(out, j.state.AddRequest(request(&d.AWSRequest, correlate.InFlight, p.entries[i].Seq), now)...)
		case *events.AWSRequestCompleted:
			r := request(&d.AWSRequest, correlate.Completed, p.entries[i].Seq)
			r.AWSRequestID, r.Took = d.AWSRequestID, time.Duration(d.DurationMicros)*time.Microsecond
			out = append(out, j.state.AddRequest(r, now)...)
		case *events.AWSRequestFailed:
			if d.Stage == "forward" {
				out = append(out, j.state.AddRequest(request(&d.AWSRequest, correlate.Failed, p.entries[i].Seq), now)...)
			} else {
				j.state.Withdraw(d.RequestID)
			}
		case *events.CloudTrailRecordReceived:
			if r, ok := record(d, p.entries[i].Seq); ok && !j.a.tooOld(r.EventTime) {
				out = append(out, j.state.AddRecord(r, now)...)
			}
		}
	}
	return out
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
	if j.said > j.a.Floor(events.Findings)+sayAhead {
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
	for again := true; again && ctx.Err() == nil; again = j.state.Behind() && j.said <= j.a.Floor(events.Findings)+sayAhead {
		out, err := j.state.Advance(correlate.Clock{Now: now, Requests: requests, Records: j.known[events.CloudTrail]},
			func(d correlate.Doubt) (correlate.Found, error) { return recall(ctx, j.a.store.Conn(), d) })
		if !j.say(ctx, out) {
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
		j.sampled[stream] = s
	}
	if j.done[stream] >= s.last {
		j.known[stream] = s.at
		delete(j.sampled, stream)
	}
	return nil
}

// mark writes down up to where AUDIT and CLOUDTRAIL are judged.
func (j *judge) mark(ctx context.Context) error {
	if time.Since(j.writing) < markEvery {
		return nil
	}
	j.writing = time.Now()
	for name, low := range map[string]uint64{trailMark: j.state.OldestPending(), auditMark: j.state.OldestOpen()} {
		at := j.done[strings.TrimPrefix(name, "judge/")]
		if low > 0 {
			at = min(at, low-1)
		}
		if at <= j.marked[name] {
			continue
		}
		if err := j.a.store.SetMark(ctx, name, at); err != nil {
			return err
		}
		j.marked[name] = at
	}
	return nil
}

// say appends judgements to FINDINGS and returns when all are durable; false
// when ctx ended before. Their ids follow from what they say, so saying one
// again, after a crash or an error, adds nothing.
func (j *judge) say(ctx context.Context, out []correlate.Judgement) bool {
	var all []events.Event
	for i := range out {
		var meta events.Meta
		if v := out[i].Verdict; v != nil {
			meta = events.Meta{ID: correlate.VerdictID(v), CorrelationID: v.RequestID, Time: v.At}
			if v.EventID != "" {
				meta.CausationID = v.RecipientAccountID + "/" + v.EventID
			}
			all = append(all, events.Event{Meta: meta, Data: v})
			meta.CausationID = meta.ID
		}
		for k := range out[i].Opened {
			f := &out[i].Opened[k]
			meta.ID = "finding/" + f.FindingID + "/opened"
			all = append(all, events.Event{Meta: meta, Data: f})
		}
		for k := range out[i].Resolved {
			f := &out[i].Resolved[k]
			meta.ID = "finding/" + f.FindingID + "/resolved"
			all = append(all, events.Event{Meta: meta, Data: f})
		}
	}
	for start := 0; start < len(all); start += sayAtOnce {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, e := range all[start:min(start+sayAtOnce, len(all))] {
			wg.Go(func() {
				seq := j.sayOne(ctx, e)
				mu.Lock()
				j.said = max(j.said, seq)
				mu.Unlock()
			})
		}
		wg.Wait()
	}
	return ctx.Err() == nil
}

func (j *judge) sayOne(ctx context.Context, e events.Event) uint64 {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		if !j.held() {
			<-ctx.Done()
			return 0
		}
		seq, err := j.a.c.Journal.Append(ctx, e)
		if err == nil {
			return seq
		}
		if ctx.Err() != nil {
			return 0
		}
		j.a.c.Log.Warn().Err(err).Str("event", e.ID).Msg("verdict is not on the stream; trying again")
		if !sleep(ctx, pause) {
			return 0
		}
	}
}

func request(r *events.AWSRequest, o correlate.Outcome, seq uint64) correlate.Request {
	return correlate.Request{
		ID: r.RequestID, ReceivedAt: r.ReceivedAt, Outcome: o, User: r.User, Account: r.Account, RoleARN: r.AWSRoleARN,
		SessionName: r.RoleSessionName, SourceIdentity: r.SourceIdentity, AccessKeyID: r.AccessKeyID, Service: r.Service,
		SigningName: r.SigningName, Operation: r.Operation, Seq: seq, Region: r.Region, SessionID: r.SessionID,
		ReadOnly: readOnly(r.AccessLevel), Resources: r.Resources,
	}
}

func credential(d *events.AWSCredentialsIssued) correlate.Credential {
	return correlate.Credential{
		AccessKeyID: d.AccessKeyID, Console: d.Use == "console", HandedOut: d.HandedOut || d.Use == "export", SessionID: d.SessionID, User: d.User, Account: d.Account, RoleARN: d.AWSRoleARN,
		SessionName: d.RoleSessionName, SourceIdentity: d.SourceIdentity, IssuedAt: d.IssuedAt, ExpiresAt: d.ExpiresAt,
	}
}

func session(d *events.SessionStarted) correlate.Session {
	s := correlate.Session{ID: d.SessionID, User: d.User, App: d.App, RoleARN: d.AWSRoleARN, Account: d.Account, AccessRequests: d.RequestIDs, EndsAt: d.ExpiresAt}
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

// readOnly says what CloudTrail's readOnly is, of an IAM access level.
func readOnly(level string) bool { return level == "Read" || level == "List" }

// refused says that AWS did not let the caller, by a record's errorCode.
func refused(code string) bool {
	for _, s := range []string{"AccessDenied", "UnauthorizedOperation", "NotAuthorized", "Unauthorized", "Forbidden", "ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient"} {
		if strings.Contains(code, s) {
			return true
		}
	}
	return false
}

// byService names the AWS service that acted for an identity: some records say
// so by their source address only
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html).
func byService(invokedBy, sourceIP string) string {
	if invokedBy == "" && strings.HasSuffix(sourceIP, ".amazonaws.com") {
		return sourceIP
	}
	return invokedBy
}

func identity(roleARN, session string) correlate.Identity {
	return correlate.IdentityOf(roleARN, session)
}

// record reads what is compared of a CloudTrail record.
func record(d *events.CloudTrailRecordReceived, seq uint64) (correlate.Record, bool) {
	r, err := cloudtrail.Parse(d.Record)
	if err != nil {
		return correlate.Record{}, false
	}
	account, role, session, _ := r.Identity.RoleSession()
	if account == "" {
		account = string(r.Identity.AccountID)
	}
	user, _ := r.Identity.User()
	return correlate.Record{
		Account: d.RecipientAccountID, EventID: d.EventID, SharedEventID: string(r.SharedEventID), RequestID: string(r.RequestID),
		EventTime: r.EventTime, EventSource: string(r.EventSource), EventName: string(r.EventName), IdentityAccount: account,
		RoleARN: r.Identity.RoleARN(), RoleName: role, SessionName: session, SourceIdentity: string(r.Identity.Session.SourceIdentity),
		AccessKeyID: string(r.Identity.AccessKeyID), User: user, InvokedBy: byService(r.Identity.InvokedBy, r.SourceIPAddress), FromConsole: bool(r.FromConsole),
		Refused: refused(r.ErrorCode), Resources: r.Resources,
		IssuedAccessKeyID: r.Response.IssuedAccessKeyID, Seq: seq,
	}, true
}
