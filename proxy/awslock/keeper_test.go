package awslock_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/rs/zerolog"

	"github.com/posternhq/postern/deploy/aws/awstest"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
	"github.com/posternhq/postern/proxy/awslock"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/sts"
)

const (
	account = "111122223333"
	role    = "arn:aws:iam::111122223333:role/postern/Dev"
)

// world is a simulated AWS with a role, and proxies that know the same.
type world struct {
	t       *testing.T
	sim     *simaws.Sim
	link    sts.Link
	own     aws.CredentialsProvider
	j       *journal.Journal
	proxies []*grants.Grants
	seq     uint64
}

func newWorld(t *testing.T, proxies int) *world {
	t.Helper()
	sim, err := simaws.New(simaws.Config{Dir: t.TempDir(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	embeddedtest.Run(t, sim)
	key, err := sim.AccessKey(account, "postern-proxy")
	if err == nil {
		err = sim.PutRole(simaws.Role{ARN: role, TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":["sts:AssumeRole","sts:SetSourceIdentity"]}]}`})
	}
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(sim.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	w := &world{t: t, sim: sim, link: sts.Link{Dial: sim.Addr(), RootCAs: roots}, own: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, ""), j: eventstest.Journal(t)}
	for i := range proxies {
		name := "proxy-" + string(rune('a'+i))
		w.run(w.know(name), name, "")
	}
	return w
}

// know makes a proxy's grants.
func (w *world) know(name string) *grants.Grants {
	g := grants.New(name)
	g.Heard(time.Now())
	w.proxies = append(w.proxies, g)
	return g
}

// run starts a proxy's keeper; lockRole is the role that it assumes to work.
func (w *world) run(g *grants.Grants, name, lockRole string) (stop func()) {
	w.t.Helper()
	record := func(ctx context.Context, e events.Event) error {
		_, err := w.j.Append(ctx, e)
		return err
	}
	h, err := sts.New(sts.Config{Proxy: name, Link: w.link, Base: w.own, Record: record, Log: zerolog.Nop()})
	if err != nil {
		w.t.Fatal(err)
	}
	k := awslock.New(awslock.Config{Proxy: name, Grants: g, Log: zerolog.Nop(), Now: time.Now, Record: record,
		Client: func(ctx context.Context, partition, account string) (*iam.Client, error) {
			return h.IAM(ctx, partition, account, lockRole)
		}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { k.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	w.t.Cleanup(stop)
	return stop
}

// tell has every proxy know an event, each its own copy, as each decodes it.
func (w *world) tell(p events.Payload) {
	w.t.Helper()
	w.seq++
	b, err := events.Encode(events.Event{Meta: events.Meta{ID: journal.NewID(), Source: "/test", Time: time.Now()}, Data: p})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, g := range w.proxies {
		e, err := events.Decode(b)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := g.Apply(w.seq, e, time.Now()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) session(user, source string) {
	w.t.Helper()
	w.tell(&events.SessionStarted{SessionID: journal.NewID(), User: user, App: "a", AWSRoleARN: role, Account: account, Partition: "aws",
		RoleSessionName: user, SourceIdentity: source, StartedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)})
}

func (w *world) config(c aws.CredentialsProvider) aws.Config {
	return aws.Config{Region: "us-east-1", Credentials: c, HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(w.link.Apply)}
}

// handedOut are credentials as a console or an export has them: AWS knows them,
// and postern sees nothing of their use.
func (w *world) handedOut(user, source string) func() error {
	w.t.Helper()
	in := &awssts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String(user)}
	if source != "" {
		in.SourceIdentity = aws.String(source)
	}
	out, err := awssts.NewFromConfig(w.config(w.own)).AssumeRole(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	c := out.Credentials
	client := s3.NewFromConfig(w.config(credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)))
	return func() error {
		_, err := client.ListBuckets(w.t.Context(), &s3.ListBucketsInput{})
		return err
	}
}

func denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "AccessDenied"
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			w.t.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func recorded[P events.Payload](w *world) (out []P) {
	w.t.Helper()
	for e, err := range w.j.Replay(w.t.Context(), events.Audit) {
		if err != nil {
			w.t.Fatal(err)
		}
		if p, ok := e.Data.(P); ok {
			out = append(out, p)
		}
	}
	return out
}

// A lock cuts what the user has outside, and nobody else's, until it is lifted;
// of two proxies, both work at it, and it is recorded once.
func TestLockReachesAWS(t *testing.T) {
	w := newWorld(t, 2)
	other := &iam.PutRolePolicyInput{RoleName: aws.String("Dev"), PolicyName: aws.String("Own"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ec2:*","Resource":"*"}]}`)}
	own := iam.NewFromConfig(w.config(w.own))
	if _, err := own.PutRolePolicy(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	w.session("alice", "")
	w.session("bob", "bob@corp")
	w.session("alice.b", "")
	alice, bob, aliceB := w.handedOut("alice", ""), w.handedOut("bob", "bob@corp"), w.handedOut("alice.b", "")
	for _, use := range []func() error{alice, bob, aliceB} {
		if err := use(); err != nil {
			t.Fatal(err)
		}
	}
	w.tell(&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	w.eventually("alice's credentials are cut", func() bool { return denied(alice()) })
	if err := errors.Join(bob(), aliceB()); err != nil {
		t.Errorf("others: %v", err)
	}
	w.tell(&events.LockPlaced{LockID: "L2", Target: events.LockTarget{Kind: "user", Name: "bob"}, By: "admin"})
	w.eventually("bob's are cut by his source identity", func() bool { return denied(bob()) && denied(alice()) })
	if err := aliceB(); err != nil {
		t.Error(err)
	}
	w.tell(&events.LockLifted{LockID: "L1", By: "admin"})
	w.eventually("alice's work again", func() bool { return alice() == nil && denied(bob()) })
	w.tell(&events.LockLifted{LockID: "L2", By: "admin"})
	w.eventually("bob's, too", func() bool { return bob() == nil })
	w.eventually("its end is recorded", func() bool { return len(recorded[*events.AWSLockLifted](w)) > 0 })
	got := ""
	for _, p := range recorded[*events.AWSLockApplied](w) {
		got += strings.Join(p.LockIDs, "+") + " "
	}
	if want := "L1 L1+L2 L2 "; got != want {
		t.Errorf("applied %q, want %q", got, want)
	}
	if n := len(recorded[*events.AWSLockLifted](w)); n != 1 {
		t.Errorf("lifted %d times", n)
	}
	if f := recorded[*events.AWSLockFailed](w); len(f) > 0 {
		t.Errorf("failed: %+v", f[0])
	}
	out, err := own.GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: other.RoleName, PolicyName: other.PolicyName})
	if err != nil || !strings.Contains(*out.PolicyDocument, "ec2") {
		t.Errorf("the other policy: %v, %v", out, err)
	}
}

// What cannot be done is recorded once, tried again, and done when it can be: with
// what deploy/aws gives a proxy and the role that it works by.
func TestLockIsTriedAgain(t *testing.T) {
	w := newWorld(t, 0)
	proxy := awstest.Load(t, "proxy", map[string]string{"AWS::AccountId": account}).Role("Proxy")
	if err := w.sim.PutUser(simaws.User{Account: account, Name: "postern-proxy", Policy: proxy.Policy}); err != nil {
		t.Fatal(err)
	}
	w.run(w.know("proxy-a"), "proxy-a", "postern/PosternLocks") // which is not there yet
	w.session("alice", "")
	alice := w.handedOut("alice", "")
	w.tell(&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	w.eventually("it is recorded", func() bool { return len(recorded[*events.AWSLockFailed](w)) == 1 })
	if err := alice(); err != nil {
		t.Errorf("the test shows nothing: %v", err)
	}
	template := awstest.Load(t, "account", map[string]string{"AWS::AccountId": account, "ExternalId": "postern", "ProxyRoleArn": "arn:aws:iam::" + account + ":user/postern-proxy"})
	err := w.sim.PutRole(template.Role("Locks"))
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("alice's credentials are cut", func() bool { return denied(alice()) })
	if f := recorded[*events.AWSLockFailed](w); len(f) != 1 || f[0].LockIDs[0] != "L1" || !strings.Contains(f[0].Reason, "PosternLocks") {
		t.Errorf("%+v", f)
	}
}

// A policy that outlived its lock, because no proxy ran when it was lifted, goes;
// one that does not fit beside the role's others denies more instead.
func TestLockLeftOver(t *testing.T) {
	w := newWorld(t, 0)
	own := iam.NewFromConfig(w.config(w.own))
	fill := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ec2:*","Resource":"` + strings.Repeat("x", 9_984) + `"}]}`
	for name, doc := range map[string]string{"Own": fill, awslock.PolicyName: `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`} {
		if _, err := own.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("Dev"), PolicyName: aws.String(name), PolicyDocument: aws.String(doc)}); err != nil {
			t.Fatal(err)
		}
	}
	alice, bob := w.handedOut("alice", ""), w.handedOut("bob", "")
	if !denied(alice()) {
		t.Fatal("the policy does nothing")
	}
	g := w.know("proxy-a")
	w.session("alice", "")
	w.session("bob", "")
	w.run(g, "proxy-a", "")
	w.eventually("the left-over is gone", func() bool { return alice() == nil && bob() == nil })
	w.tell(&events.LockPlaced{LockID: "Lrole", Target: events.LockTarget{Kind: "aws_role", Name: role}, By: "admin"})
	w.eventually("all are cut", func() bool { return denied(alice()) && denied(bob()) })
	for _, p := range recorded[*events.AWSLockApplied](w) {
		if strings.Contains(p.Policy, "aws:userid") {
			t.Errorf("beside the other policy, this cannot have fitted: %s", p.Policy)
		}
	}
}

// A proxy that has not heard for too long of what was decided takes off nothing that others
// have brought to AWS: it may not know the lock.
func TestDeafProxyTakesNothingOff(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.know("proxy-a"), w.know("proxy-b")
	w.run(a, "proxy-a", "")
	record := func(ctx context.Context, e events.Event) error {
		_, err := w.j.Append(ctx, e)
		return err
	}
	h, err := sts.New(sts.Config{Proxy: "proxy-b", Link: w.link, Base: w.own, Record: record, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	var looks atomic.Int64
	keeper := awslock.New(awslock.Config{Proxy: "proxy-b", Grants: b, Log: zerolog.Nop(), Record: record,
		Now: func() time.Time { looks.Add(1); return time.Now() },
		Client: func(ctx context.Context, partition, account string) (*iam.Client, error) {
			return h.IAM(ctx, partition, account, "")
		}})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { keeper.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	w.session("alice", "")
	w.session("bob", "")
	alice, bob := w.handedOut("alice", ""), w.handedOut("bob", "")
	w.tell(&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	w.eventually("alice's credentials are cut", func() bool { return denied(alice()) })

	b.Silence(time.Nanosecond, true)
	only := func(g *grants.Grants, p events.Payload) {
		t.Helper()
		w.proxies = []*grants.Grants{g}
		w.tell(p)
	}
	only(a, &events.LockPlaced{LockID: "L2", Target: events.LockTarget{Kind: "user", Name: "bob"}, By: "admin"})
	w.eventually("bob's, too", func() bool { return denied(bob()) })
	for i := range 3 { // each has it look; the last one begins once the one before has ended
		before := looks.Load()
		only(b, &events.LockPlaced{LockID: fmt.Sprintf("other-%d", i), Target: events.LockTarget{Kind: "user", Name: "carol"}, By: "admin"})
		w.eventually("proxy-b looks", func() bool { return looks.Load() > before })
	}
	if !denied(bob()) || !denied(alice()) {
		t.Error("a proxy that does not know the lock has taken it off")
	}
	b.Silence(0, true)
	only(b, &events.LockLifted{LockID: "L1", By: "admin"})
	w.eventually("once it hears again, it works as before", func() bool { return alice() == nil })
}

// A proxy that cannot read an event refuses all calls until it is a newer one. Locks that come
// meanwhile cut consoles and credentials at AWS all the same.
func TestBrokenProxyBringsLocks(t *testing.T) {
	w := newWorld(t, 0)
	g := w.know("proxy-a")
	w.run(g, "proxy-a", "")
	w.session("alice", "")
	w.session("bob", "")
	alice, bob := w.handedOut("alice", ""), w.handedOut("bob", "")
	w.seq++
	if err := g.Undecodable(w.seq, "access.new.x", errors.New("of an unknown type")); err != nil {
		t.Fatal(err)
	}
	w.tell(&events.LockPlaced{LockID: "L1", Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"})
	w.eventually("alice's credentials are cut", func() bool { return denied(alice()) })
	w.tell(&events.LockPlaced{LockID: "L2", Target: events.LockTarget{Kind: "user", Name: "bob"}, By: "admin"})
	w.eventually("bob's, too", func() bool { return denied(bob()) && denied(alice()) })
}
