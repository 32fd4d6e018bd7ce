package main

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/posternhq/postern/auditor/client"
	"github.com/posternhq/postern/auditor/evidence"
	"github.com/posternhq/postern/broker/access"
	cas "github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/events/signed"
	"github.com/posternhq/postern/proxy/awsreq"
)

// What came along with a recorded call is decided anew, too, each by its own level.
func TestWhatIfBesides(t *testing.T) {
	table, err := awsreq.New()
	if err != nil {
		t.Fatal(err)
	}
	r := &rerun{table: table, levels: table.Levels()}
	allow := func(actions ...string) []events.Permission {
		return []events.Permission{{Role: "dev", Effect: "Allow", Actions: actions}}
	}
	careful := append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Actions: []string{"s3:PutObject"}, Approval: true})
	deny := append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Resources: []string{"arn:aws:lambda:*:*:function:secret"}})
	acl := events.AWSRequest{Action: "s3:PutObject", Also: []string{"s3:PutObjectAcl"}, AccessLevel: "Permissions management"}
	put := events.AWSRequest{Action: "s3:PutObject", AccessLevel: "Write"}
	odd := events.AWSRequest{Action: "s3:PutObject", Also: []string{"s3:OfALaterVersion"}, AccessLevel: "Write"}
	for _, c := range []struct {
		name    string
		perms   []events.Permission
		call    events.AWSRequest
		allowed bool
	}{
		{"by the action's own level", allow("@Write", "s3:PutObjectAcl"), acl, true},
		{"not what came along", allow("@Write"), acl, false},
		{"what came along, denied", append(allow("*"), events.Permission{Role: "dev", Effect: "Deny", Actions: []string{"@Permissions management"}}), acl, false},
		{"nothing came along", allow("@Write"), put, true},
		{"a level that is not known", allow("@Write"), odd, false},
		{"by name", allow("s3:*"), odd, true},
		{"what somebody else has to approve", careful, put, false},
		{"what nobody has to", careful, events.AWSRequest{Action: "s3:GetObject", AccessLevel: "Read"}, true},
		{"a resource denied that it cannot be about", deny, events.AWSRequest{Service: "ec2", Operation: "DescribeInstances", Action: "ec2:DescribeInstances", AccessLevel: "List"}, true},
		{"a resource denied that it may be about", deny, events.AWSRequest{Service: "lambda", Operation: "GetFunction", Action: "lambda:GetFunction", AccessLevel: "Read"}, false},
	} {
		s := rerunSession{permissions: c.perms}
		change := s.judge(events.Event{}, &c.call, !c.allowed, r)
		if same := s.judge(events.Event{}, &c.call, c.allowed, r); change == nil || same != nil {
			t.Errorf("%s: %+v, %+v; want allowed %v", c.name, change, same, c.allowed)
		}
	}
	// What was approved was, and a request that the session rests on is no approval.
	put.AccessRequestIDs = []string{"R1", "CALL"}
	s := rerunSession{permissions: careful, requests: []string{"R1"}}
	if change := s.judge(events.Event{}, &put, true, r); change != nil {
		t.Errorf("a call that was approved: %+v", change)
	}
	put.AccessRequestIDs = put.AccessRequestIDs[:1]
	if change := s.judge(events.Event{}, &put, true, r); change == nil || change.Effect != "denied" {
		t.Errorf("a call in a session on a request: %+v", change)
	}
}

// toldHistory is a history as an auditor tells it, of events signed by a broker.
type toldHistory struct {
	t       *testing.T
	now     time.Time
	ca      *cas.Authority
	key     *signed.Signer
	streams map[string]string // lines, by the subject that is asked for
	seqs    map[string]uint64
}

func tellHistory(t *testing.T) *toldHistory {
	h := &toldHistory{t: t, now: time.Now().UTC().Truncate(time.Second), streams: map[string]string{}, seqs: map[string]uint64{}}
	var err error
	if h.ca, err = cas.NewAuthority(h.now); err == nil {
		h.key, err = signed.NewSigner()
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := h.ca.IssueSigner(h.key.Public(), h.key.ID(), h.now.Add(-time.Hour), h.now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	published := &events.KeyPublished{KeyID: h.key.ID(), Certificate: base64.StdEncoding.EncodeToString(der), NotBefore: h.now.Add(-time.Hour), NotAfter: h.now.Add(time.Hour)}
	h.put("access.>", published.Channel(), h.decided(published, 1, h.now))
	h.streams["access.key.>"] = h.streams["access.>"]
	return h
}

// event is an event that nobody signed.
func (h *toldHistory) event(p events.Payload, revision uint64, at time.Time) []byte {
	id := journal.NewID()
	b, err := events.Encode(events.Event{Meta: events.Meta{ID: id, Source: "/test", Time: at, CorrelationID: id, Sequence: revision}, Data: p})
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// decided is one that a broker decided, by its clock.
func (h *toldHistory) decided(p events.Payload, revision uint64, at time.Time) []byte {
	return h.key.Sign(p.Channel(), h.event(p, revision, at))
}

// put has it stand on the stream of a subject, stored now.
func (h *toldHistory) put(asked, channel string, body []byte) {
	h.seqs[asked]++
	line, err := evidence.Delivered{Stream: "S", Seq: h.seqs[asked], Subject: channel, StoredAt: h.now, Event: body}.Line()
	if err != nil {
		h.t.Fatal(err)
	}
	h.streams[asked] += string(line)
}

// run runs it again, supposing nothing, and returns what would have been different.
func (h *toldHistory) run() (r *rerun, changes []*whatIfChange, known int) {
	auditor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(h.streams[r.FormValue("subject")]))
	}))
	defer auditor.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.ca.Certificate())
	table, err := awsreq.New()
	if err != nil {
		h.t.Fatal(err)
	}
	r = &rerun{a: client.New(auditor.URL, auditor.Client()), table: table, levels: table.Levels(), supposed: access.Suppose(), roots: roots, sessions: map[string]*rerunSession{}, heads: map[string]uint64{}}
	err = r.run(h.t.Context(), h.now.Add(-time.Hour), func(_ time.Time, change *whatIfChange, of bool) error {
		if of {
			known++
		}
		if change != nil {
			changes = append(changes, change)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return r, changes, known
}

// call has a call of a session let through.
func (h *toldHistory) call(session string) {
	p := &events.AWSRequestAdmitted{AWSRequest: events.AWSRequest{RequestID: journal.NewID(), SessionID: session, User: "ann", ReceivedAt: h.now}}
	h.put("audit.>", p.Channel(), h.event(p, 1, h.now))
}

// An event that no broker decided, of a time that is to come, hides none of what stands
// behind it.
func TestWhatIfPassesOverForged(t *testing.T) {
	h := tellHistory(t)
	forged := &events.LockLifted{LockID: "l", By: "mallory"}
	h.put("access.>", forged.Channel(), h.event(forged, 1, h.now.AddDate(50, 0, 0)))
	started := &events.SessionStarted{SessionID: "s", User: "ann", App: "a", AWSRoleARN: "arn:aws:iam::123456789012:role/R", StartedAt: h.now, ExpiresAt: h.now.Add(time.Hour)}
	h.put("access.>", started.Channel(), h.decided(started, 1, h.now))
	h.call("s")
	if _, _, known := h.run(); known != 1 {
		t.Errorf("%d calls of a session that is known", known)
	}
}

// Of a history as it is, nothing would have been different: although a broker's clock is
// ahead, there are events that a later version wrote or of which earlier ones are missing,
// which is said, and somebody put a session's start there again.
func TestWhatIfOddHistory(t *testing.T) {
	const arn = "arn:aws:iam::123456789012:role/R"
	h := tellHistory(t)
	ahead := h.now.Add(40 * time.Minute)
	revisions := map[string]uint64{}
	decide := func(p events.Payload) []byte {
		revisions[p.Channel()]++
		b := h.decided(p, revisions[p.Channel()], ahead)
		h.put("access.>", p.Channel(), b)
		return b
	}
	role := events.Role{Name: "r", Allow: events.RoleConditions{AppLabels: map[string][]string{"*": {"*"}}, AWSRoleARNs: []string{arn}}}
	decide(&events.RoleCreated{Role: role, By: "x"})
	decide(&events.AppCreated{App: events.App{Name: "a", RoleARNs: []string{arn}}, By: "x"})
	ann := &events.UserCreated{User: events.User{Name: "ann"}, By: "x"}
	decide(ann)
	later := strings.Replace(string(h.event(ann, 2, ahead)), string(events.TypeUserCreated), "io.postern.user.promised.v1", 1)
	h.put("access.>", ann.Channel(), h.key.Sign(ann.Channel(), []byte(later)))
	revisions[ann.Channel()] += 2 // one that is understood is missing, too
	decide(&events.UserUpdated{User: events.User{Name: "ann", Roles: []string{"r"}}, By: "x"})
	session := func(id string) []byte {
		return decide(&events.SessionStarted{SessionID: id, User: "ann", App: "a", AWSRoleARN: arn, StartedAt: ahead, ExpiresAt: ahead.Add(time.Hour)})
	}
	s := session("s")
	role.Allow.AWSActions = []string{"@Read"}
	decide(&events.RoleUpdated{Role: role, By: "x"})
	h.put("access.>", "access.session.s", s)
	h.call("s")
	r, changes, known := h.run()
	if known != 1 || len(changes) > 0 {
		t.Errorf("%d calls of sessions that are known; changes %+v", known, changes)
	}
	if r.odd != 2 || r.firstOdd != "event 5 on access.user.ann" {
		t.Errorf("%d events are odd, first %s", r.odd, r.firstOdd)
	}
}
