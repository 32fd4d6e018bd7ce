package sts_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/sts"
	"github.com/posternhq/postern/proxy/sts/ststest"
)

// clock is a clock that stands until it is moved.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(time.Now().UnixNano())
	return c
}
func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) forward(d time.Duration) { c.ns.Add(int64(d)) }

// journal keeps what is recorded, or refuses to.
type journal struct {
	mu     sync.Mutex
	events []events.Event
	err    error
}

func (j *journal) record(_ context.Context, e events.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	j.events = append(j.events, e)
	return nil
}

func (j *journal) all() []events.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]events.Event(nil), j.events...)
}

type rig struct {
	*sts.Holder
	aws   *ststest.AWS
	clock *clock
	log   *journal
}

func newRig(t *testing.T, change ...func(*sts.Config, *ststest.AWS)) *rig {
	t.Helper()
	r := &rig{aws: ststest.Start(t), clock: newClock(), log: &journal{}}
	cfg := sts.Config{Proxy: "test", Link: r.aws.Link(), Base: r.aws.Base(), Record: r.log.record, Log: zerolog.Nop(), Now: r.clock.now}
	for _, f := range change {
		f(&cfg, r.aws)
	}
	h, err := sts.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Holder = h
	t.Cleanup(h.Wait)
	return r
}

func (r *rig) session(id string, lasts time.Duration) *events.SessionStarted {
	return &events.SessionStarted{
		SessionID: id, User: "alice", App: "prod", AWSRoleARN: "arn:aws:iam::111122223333:role/dev", Account: "111122223333",
		Partition: "aws", Region: "eu-west-1", RoleSessionName: "alice", StartedAt: r.clock.now(), ExpiresAt: r.clock.now().Add(lasts),
	}
}

func (r *rig) get(t *testing.T, s *events.SessionStarted) sts.Credentials {
	t.Helper()
	c, err := r.Get(t.Context(), s, "event-1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Ten thousand requests of a hundred sessions are a hundred calls.
func TestOneCallPerSession(t *testing.T) {
	r := newRig(t)
	sessions := make([]*events.SessionStarted, 100)
	for i := range sessions {
		sessions[i] = r.session(fmt.Sprint("s", i), time.Hour)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for _, s := range sessions {
				copied := *s // not the pointer but what it says counts
				if _, err := r.Get(t.Context(), &copied, "event-1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.aws.Calls("AssumeRole")); n != 100 {
		t.Errorf("%d calls of AssumeRole", n)
	}
	if n := len(r.log.all()); n != 100 {
		t.Errorf("%d events", n)
	}
	r.clock.forward(time.Hour)
	r.Sweep()
	if _, err := r.Get(t.Context(), sessions[0], "event-1"); err == nil {
		t.Error("credentials of a session that is over")
	}
}

// The call says all that the session does, in its region, and the event says
// all but the secrets.
func TestCallAndEvent(t *testing.T) {
	r := newRig(t)
	s := r.session("s", 2*time.Hour)
	s.ExternalID, s.SourceIdentity, s.SessionTags = "ext", "alice@corp", map[string]string{"team": "blue"}
	c := r.get(t, s)
	got := r.aws.Calls("AssumeRole")[0]
	want := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {s.AWSRoleARN}, "RoleSessionName": {"alice"}, "DurationSeconds": {"7200"},
		"ExternalId": {"ext"}, "SourceIdentity": {"alice@corp"}, "Tags.member.1.Key": {"team"}, "Tags.member.1.Value": {"blue"},
		"Host": {"sts.eu-west-1.amazonaws.com"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
	es := r.log.all()
	if len(es) != 1 || es[0].CausationID != "event-1" {
		t.Fatalf("%+v", es)
	}
	if diff := cmp.Diff(&events.AWSCredentialsIssued{
		AccessKeyID: c.AccessKeyID, SessionID: "s", User: "alice", App: "prod", AWSRoleARN: s.AWSRoleARN, Account: "111122223333",
		RoleSessionName: "alice", SourceIdentity: "alice@corp", AssumedRoleID: "AROASTANDIN:alice",
		IssuedAt: r.clock.now().UTC(), ExpiresAt: c.Expires.UTC(), Use: "proxy", Proxy: "test",
	}, es[0].Data); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, c); strings.Contains(text, c.SecretAccessKey) || strings.Contains(text, c.SessionToken) {
			t.Errorf("%s prints secrets", format)
		}
	}
}

// Whatever differs in the call is another key.
func TestCacheKey(t *testing.T) {
	r := newRig(t)
	base := r.session("s", time.Hour)
	first := r.get(t, base).AccessKeyID
	for name, change := range map[string]func(*events.SessionStarted){
		"session": func(s *events.SessionStarted) { s.SessionID = "s2" },
		"role":    func(s *events.SessionStarted) { s.AWSRoleARN += "2" },
		"name":    func(s *events.SessionStarted) { s.RoleSessionName = "bob" },
		"source":  func(s *events.SessionStarted) { s.SourceIdentity = "bob" },
		"external id": func(s *events.SessionStarted) {
			s.ExternalID = "x"
		},
		"tags":   func(s *events.SessionStarted) { s.SessionTags = map[string]string{"a": "b"} },
		"region": func(s *events.SessionStarted) { s.Region = "us-east-1" },
	} {
		s := *base
		change(&s)
		if r.get(t, &s).AccessKeyID == first {
			t.Errorf("another %s got the same credentials", name)
		}
	}
	if r.get(t, base).AccessKeyID != first {
		t.Error("the first session got other credentials than before")
	}
}

func TestDuration(t *testing.T) {
	tooLong := func(max int, message string) func(url.Values) *ststest.Refusal {
		return func(f url.Values) *ststest.Refusal {
			var n int
			if _, err := fmt.Sscan(f.Get("DurationSeconds"), &n); err != nil || n <= max {
				return nil
			}
			return &ststest.Refusal{Status: 400, Code: "ValidationError", Message: message}
		}
	}
	const roleMax = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
	const chained = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
	for _, c := range []struct {
		name   string
		lasts  time.Duration
		assume func(url.Values) *ststest.Refusal
		temp   bool
		want   []string // of two sessions
	}{
		{"the session's rest", 5 * time.Hour, nil, false, []string{"18000", "18000"}},
		{"fractions up", 90*time.Minute + time.Millisecond, nil, false, []string{"5401", "5401"}},
		{"twelve hours", 20 * time.Hour, nil, false, []string{"43200", "43200"}},
		{"fifteen minutes", time.Minute, nil, false, []string{"900", "900"}},
		{"the role's limit is learnt once", 5 * time.Hour, tooLong(3600, roleMax), false, []string{"18000", "3600", "3600"}},
		{"role chaining is known by the token", 5 * time.Hour, tooLong(3600, chained), true, []string{"3600", "3600"}},
		{"role chaining is learnt once", 5 * time.Hour, tooLong(3600, chained), false, []string{"18000", "3600", "3600"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(cfg *sts.Config, a *ststest.AWS) {
				a.Assume = c.assume
				if c.temp {
					cfg.Base = a.Temporary()
				}
			})
			for i := range 2 {
				r.get(t, r.session(fmt.Sprint("s", i), c.lasts))
			}
			var got []string
			for _, f := range r.aws.Calls("AssumeRole") {
				got = append(got, f.Get("DurationSeconds"))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("DurationSeconds (-want +got):\n%s", diff)
			}
		})
	}
}

// Credentials are renewed before they end, behind the requests' back, and not
// at all when they outlast the session.
func TestRenewal(t *testing.T) {
	r := newRig(t, func(_ *sts.Config, a *ststest.AWS) { a.Lifetime = time.Hour })
	r.aws.Clock = r.clock.now
	long, short := r.session("long", 3*time.Hour), r.session("short", 50*time.Minute)
	first, other := r.get(t, long), r.get(t, short)
	r.clock.forward(49 * time.Minute)
	if r.get(t, long).AccessKeyID != first.AccessKeyID {
		t.Error("renewed too early")
	}
	r.clock.forward(30 * time.Second)
	if r.get(t, short).AccessKeyID != other.AccessKeyID {
		t.Error("renewed what outlasts its session")
	}
	r.clock.forward(7 * time.Minute) // 3.5 minutes before the end
	if r.get(t, long).AccessKeyID != first.AccessKeyID {
		t.Error("a request waited for the renewal, though the old credentials serve")
	}
	r.Wait()
	second := r.get(t, long)
	if second.AccessKeyID == first.AccessKeyID {
		t.Error("not renewed ahead")
	}
	r.clock.forward(2 * time.Hour)
	if _, err := r.Get(t.Context(), long, "event-1"); err != nil {
		t.Errorf("credentials that have ended are replaced: %v", err)
	}
	if n := len(r.aws.Calls("AssumeRole")); n != 4 {
		t.Errorf("%d calls", n)
	}
}

// No event, no credentials; and no second call once the event can be written.
func TestUnrecordedCredentialsAreNotUsed(t *testing.T) {
	r := newRig(t)
	r.log.err = errors.New("the stream is gone")
	s := r.session("s", time.Hour)
	if c, err := r.Get(t.Context(), s, "event-1"); err == nil {
		t.Fatalf("got %s without a record", c.AccessKeyID)
	}
	r.log.mu.Lock()
	r.log.err = nil
	r.log.mu.Unlock()
	r.clock.forward(2 * time.Second)
	c := r.get(t, s)
	if n := len(r.aws.Calls("AssumeRole")); n != 1 {
		t.Errorf("%d calls", n)
	}
	if es := r.log.all(); len(es) != 1 || es[0].Data.(*events.AWSCredentialsIssued).AccessKeyID != c.AccessKeyID {
		t.Errorf("%+v", es)
	}
}

func TestErrors(t *testing.T) {
	refuse := func(status int, code, message string) func(url.Values) *ststest.Refusal {
		return func(url.Values) *ststest.Refusal {
			return &ststest.Refusal{Status: status, Code: code, Message: message}
		}
	}
	for _, c := range []struct {
		name      string
		assume    func(url.Values) *ststest.Refusal
		temp      bool
		temporary bool
		want      []string
	}{
		{"denied", refuse(403, "AccessDenied", "no"), false, false, []string{
			"AWS refused " + ststest.BaseARN, "to assume arn:aws:iam::111122223333:role/dev", "trust policy of that role",
			"allow sts:AssumeRole, sts:SetSourceIdentity, sts:TagSession to " + ststest.BaseARN, "external id of app prod"}},
		{"denied to a role", refuse(403, "AccessDenied", "no"), true, false, []string{
			"AWS refused arn:aws:sts::999988887777:assumed-role/postern/i-1", "to arn:aws:iam::999988887777:role/postern,"}},
		{"own credentials", refuse(403, "ExpiredToken", "The security token included in the request is expired"), false, false, []string{
			"does not accept the credentials that this proxy runs with (access key " + ststest.BaseKey, "ExpiredToken"}},
		{"region", refuse(403, "RegionDisabledException", "x"), false, false, []string{"not active in region eu-west-1"}},
		{"other", refuse(400, "MalformedThing", "what is that"), false, false, []string{"MalformedThing: what is that"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(cfg *sts.Config, a *ststest.AWS) {
				a.Assume = c.assume
				if c.temp {
					cfg.Base = a.Temporary()
				}
			})
			s := r.session("s", time.Hour)
			s.ExternalID, s.SourceIdentity, s.SessionTags = "secret-external-id", "alice", map[string]string{"a": "b"}
			_, err := r.Get(t.Context(), s, "event-1")
			e, ok := errors.AsType[*sts.Error](err)
			if !ok || e.Temporary != c.temporary {
				t.Fatalf("%T %v", err, err)
			}
			for _, part := range c.want {
				if !strings.Contains(e.Reason, part) {
					t.Errorf("%q lacks %q", e.Reason, part)
				}
			}
			if strings.Contains(e.Reason, "secret-external-id") {
				t.Errorf("%q tells the external id", e.Reason)
			}
			// The refusal stands for a while: no storm of calls.
			calls := len(r.aws.Calls("AssumeRole"))
			for range 10 {
				if _, again := r.Get(t.Context(), s, "event-1"); again == nil || again.Error() != err.Error() {
					t.Errorf("then: %v", again)
				}
			}
			if n := len(r.aws.Calls("AssumeRole")); n != calls {
				t.Errorf("%d calls for a refusal that stands", n-calls)
			}
			r.clock.forward(11 * time.Second)
			if _, err := r.Get(t.Context(), s, "event-1"); err == nil || len(r.aws.Calls("AssumeRole")) == calls {
				t.Errorf("never asked again: %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	r := newRig(t, func(c *sts.Config, _ *ststest.AWS) { c.Link.Dial = "127.0.0.1:1" })
	_, err := r.Get(t.Context(), r.session("s", time.Hour), "event-1")
	if e, ok := errors.AsType[*sts.Error](err); !ok || !e.Temporary || !strings.Contains(e.Reason, "could not be reached") {
		t.Errorf("%v", err)
	}
}

// A server of another CA: the operator reads which keys to look at.
func TestNotAWS(t *testing.T) {
	r := newRig(t, func(c *sts.Config, _ *ststest.AWS) { c.Link.RootCAs = x509.NewCertPool() })
	_, err := r.Get(t.Context(), r.session("s", time.Hour), "event-1")
	if e, ok := errors.AsType[*sts.Error](err); !ok || !strings.Contains(e.Reason, "proxy.aws.dial") || !strings.Contains(e.Reason, "proxy.aws.ca_file") {
		t.Errorf("%v", err)
	}
}

// What the operator reads when there are no credentials at all.
func TestNoCredentials(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/config")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/credentials")
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	t.Setenv("AWS_DEFAULT_PROFILE", "work")
	r := newRig(t, func(c *sts.Config, _ *ststest.AWS) { c.Base = nil })
	_, err := r.Get(t.Context(), r.session("s", time.Hour), "event-1")
	if err == nil {
		t.Fatal("credentials out of nowhere")
	}
	at := 0
	for _, part := range []string{"environment (AWS_ACCESS_KEY_ID is not set)", "web identity", `shared files (profile "work" in ` + os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), "container", "instance metadata (IMDSv2), which AWS_EC2_METADATA_DISABLED turns off", "hop limit"} {
		i := strings.Index(err.Error()[at:], part)
		if i < 0 {
			t.Fatalf("%q lacks %q in its place", err, part)
		}
		at += i
	}
}

// The order is the SDK's: a web identity of the environment that fails is not made up for by
// keys in a file.
func TestWebIdentityGoesBeforeFiles(t *testing.T) {
	bare(t)
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = "+ststest.BaseKey+"\naws_secret_access_key = "+baseSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file+".token")
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/proxy")
	r := newRig(t, func(c *sts.Config, _ *ststest.AWS) { c.Base = nil })
	if _, err := r.Get(t.Context(), r.session("s", time.Hour), "event-1"); err == nil || !strings.Contains(err.Error(), file+".token") {
		t.Error(err)
	}
}

func TestConsole(t *testing.T) {
	for _, c := range []struct {
		name, partition, destination string
		lasts                        time.Duration
		temp                         bool
		host, dest, duration, err    string
	}{
		{"standard", "aws", "", 2 * time.Hour, false, "signin.aws.amazon.com", "https://console.aws.amazon.com/", "7200", ""},
		{"no partition named", "", "", 2 * time.Hour, false, "signin.aws.amazon.com", "https://console.aws.amazon.com/", "7200", ""},
		{"long", "aws", "ec2/home", 20 * time.Hour, false, "signin.aws.amazon.com", "https://console.aws.amazon.com/ec2/home", "43200", ""},
		{"regional", "aws", "https://eu-west-1.console.aws.amazon.com/s3/home?region=eu-west-1#x", 2 * time.Hour, false, "signin.aws.amazon.com", "https://eu-west-1.console.aws.amazon.com/s3/home?region=eu-west-1#x", "7200", ""},
		{"GovCloud", "aws-us-gov", "", 2 * time.Hour, false, "signin.amazonaws-us-gov.com", "https://console.amazonaws-us-gov.com/", "7200", ""},
		{"China", "aws-cn", "", 2 * time.Hour, false, "signin.amazonaws.cn", "https://console.amazonaws.cn/", "7200", ""},
		{"chained", "aws", "", 2 * time.Hour, true, "signin.aws.amazon.com", "https://console.aws.amazon.com/", "", ""},
		{"too short", "aws", "", 14 * time.Minute, false, "", "", "", "less than 15 minutes"},
		{"elsewhere", "aws", "https://evil.example.com/", time.Hour, false, "", "", "", "no page of https://console.aws.amazon.com"},
		{"elsewhere by suffix", "aws", "https://evilconsole.aws.amazon.com/", time.Hour, false, "", "", "", "no page of"},
		{"Health", "aws", "https://health.aws.amazon.com/health/home#/account", 2 * time.Hour, false, "signin.aws.amazon.com", "https://health.aws.amazon.com/health/home#/account", "7200", ""},
		{"below Health", "aws", "https://evil.health.aws.amazon.com/", time.Hour, false, "", "", "", "no page of"},
		{"Health by port", "aws", "https://health.aws.amazon.com:8443/", time.Hour, false, "", "", "", "no page of"},
		{"Health by user", "aws", "https://health.aws.amazon.com@evil.com/", time.Hour, false, "", "", "", "no page of"},
		{"Health of another partition", "aws-us-gov", "https://health.aws.amazon.com/", time.Hour, false, "", "", "", "no page of"},
		{"AWS's, but no console", "aws", "https://docs.aws.amazon.com/", time.Hour, false, "", "", "", "no page of"},
		{"elsewhere by user", "aws", "https://console.aws.amazon.com@evil.com/", time.Hour, false, "", "", "", "no page of"},
		{"plain", "aws", "http://console.aws.amazon.com/", time.Hour, false, "", "", "", "no page of"},
		{"another partition's", "aws-cn", "https://console.aws.amazon.com/", time.Hour, false, "", "", "", "no page of"},
		{"unknown partition", "aws-iso", "", time.Hour, false, "", "", "", "partition aws-iso has no console"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(cfg *sts.Config, a *ststest.AWS) {
				if c.temp {
					cfg.Base = a.Temporary()
				}
			})
			s := r.session("s", c.lasts)
			s.Region, s.Partition = "", c.partition
			out, err := r.Console(t.Context(), s, "event-1", c.destination)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || len(r.log.all()) != 0 {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(out.URL)
			if err != nil {
				t.Fatal(err)
			}
			calls := r.aws.Calls("getSigninToken")
			if u.Host != c.host || u.Query().Get("Destination") != c.dest || len(calls) != 1 || calls[0].Get("SessionDuration") != c.duration || calls[0].Get("Host") != c.host {
				t.Errorf("%s %v", out.URL, calls)
			}
			if c.temp != (out.Notice != "") || c.temp && !strings.Contains(out.Notice, "1 hour") {
				t.Errorf("notice %q", out.Notice)
			}
			if out.ExpiresAt.After(s.ExpiresAt) {
				t.Errorf("lasts until %s, beyond the session's %s", out.ExpiresAt, s.ExpiresAt)
			}
			if es := r.log.all(); len(es) != 1 || es[0].Data.(*events.AWSCredentialsIssued).Use != "console" {
				t.Errorf("%+v", es)
			}
			if strings.Contains(out.URL, "secret-") {
				t.Error("the link has the credentials in it")
			}
		})
	}
}
