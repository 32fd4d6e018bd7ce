package broker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/push"
	"github.com/posternhq/postern/broker/sealed"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/eventstest"
	"github.com/posternhq/postern/events/journal"
)

// TestMain makes a broker of this binary when a test runs it again, to have a process
// that it can kill.
func TestMain(m *testing.M) {
	if os.Getenv("POSTERN_TEST_BROKER") == "" {
		os.Exit(m.Run())
	}
	if err := childBroker(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func childBroker() error {
	ctx := context.Background()
	j, err := eventstest.FromEnv("/postern/broker/child")
	if err != nil {
		return err
	}
	key, err := sealed.ParseKey(os.Getenv("POSTERN_TEST_SEAL"))
	if err != nil {
		return err
	}
	bucket, err := j.Bucket(ctx, sealed.Bucket, 1)
	if err != nil {
		return err
	}
	store, err := sealed.Open(ctx, bucket, key)
	if err != nil {
		return err
	}
	b, err := New(Config{Listen: os.Getenv("POSTERN_TEST_BROKER"), Journal: j, Secrets: store, PublicURL: os.Getenv("POSTERN_TEST_URL"), Log: zerolog.Nop(),
		Consumers: Consumers{Backoff: push.Backoff{First: 5 * time.Millisecond, Most: 50 * time.Millisecond}}})
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// Two brokers are processes, and whichever sends is killed under load, again and again.
// Every event comes to a webhook at least once, and in order; what an endpoint refuses is
// a dead letter, once; and a receiver that polls, over either broker, hears all.
func TestPusherKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: kills brokers, and waits until others take over")
	}
	server := embeddedtest.StartNATS(t)
	creds, err := server.Mint("test", embedded.Admin(), 0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(path, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	nc := embeddedtest.Dial(t, server.URL(), creds)
	if err := journal.Setup(t.Context(), nc, journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	j, ctx := eventstest.Open(t, nc), t.Context()
	addrs := []string{freeAddr(t), freeAddr(t)} // somebody else may take them: then it says so
	first, stop := startIn(t, j, newClock(), t.TempDir(), func(cfg *Config) { cfg.Clock, cfg.Listen, cfg.PublicURL = nil, addrs[0], "https://"+addrs[0] })
	if _, err := first.Apply(ctx, "test", []byte(demo)); err != nil {
		t.Fatal(err)
	}
	id, err := first.IssueIdentity(ctx, "admin", 0)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := id.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	admin := as(t, first, "admin")
	all, picky := newReceiver(t), newReceiver(t)
	refuses := func(seq uint64) bool { return seq%5 == 0 }
	picky.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) {
		if _, p, ok := events.Unplaced(body); ok && refuses(p.Sequence) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	for name, r := range map[string]*receiver{"all": all, "picky": picky} {
		in := r.consumer(name, "access.lock.>")
		in.Push.Tries = 2
		if _, err := admin.NewConsumer(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	p := newPoller(t, first, receiverIn(t, first))
	stream := p.json("POST", p.at("configuration_endpoint"), map[string]any{"events_requested": []string{caep + "session-revoked"}}, http.StatusCreated)
	keys := p.keys(t)
	stop()

	run := func(addr string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "POSTERN_TEST_BROKER="+addr, "POSTERN_TEST_URL=https://"+addrs[0], "POSTERN_TEST_CREDS="+path,
			"POSTERN_TEST_NATS="+server.URL(), "POSTERN_TEST_SEAL="+base64.StdEncoding.EncodeToString(sealKey))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if cmd.ProcessState == nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		})
		return cmd
	}
	brokers := []*exec.Cmd{run(addrs[0]), run(addrs[1])}

	// The load: locks on users, by whichever broker answers; and a receiver that polls.
	loading, done := context.WithCancel(ctx)
	var load, polling sync.WaitGroup
	var placed atomic.Int64
	for i, addr := range addrs {
		c, err := client.New("https://"+addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		load.Go(func() {
			for loading.Err() == nil {
				if _, err := c.PlaceLock(ctx, api.CreateLock{Target: api.LockTarget{Kind: "user", Name: []string{"alice", "bob"}[i]}}); err == nil {
					placed.Add(1)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	heard := map[string]bool{} // event ids
	var mu sync.Mutex
	pollCtx, endPolls := context.WithCancel(ctx)
	polling.Go(func() {
		var acks []string
		for i := 0; pollCtx.Err() == nil; i++ {
			sets, err := pollOnce(pollCtx, p, "https://"+addrs[i%2]+pollPath+stream["stream_id"].(string), acks)
			if err != nil {
				time.Sleep(20 * time.Millisecond)
				continue
			}
			acks = acks[:0]
			for jti, token := range sets {
				if short, _ := p.read(keys, token); short != "" {
					acks = append(acks, jti)
				}
				mu.Lock()
				heard[jti] = true
				mu.Unlock()
			}
		}
	})
	more := func(n int) {
		t.Helper()
		before := -1
		all.until(func(got []request) bool {
			if before < 0 {
				before = len(got)
			}
			return len(got) >= before+n
		})
	}
	more(20)
	for i := range 4 { // which one sends, nobody can tell: each in turn is killed
		victim := &brokers[i%2]
		_ = (*victim).Process.Kill()
		_ = (*victim).Wait()
		*victim = run(addrs[i%2])
		more(20)
	}
	done()
	load.Wait()

	var want []uint64 // sequences of locks in the stream
	last := uint64(0)
	for e, err := range j.Replay(ctx, events.Access, "access.lock.>") {
		if err != nil {
			t.Fatal(err)
		}
		want, last = append(want, e.Seq), e.Seq
	}
	settled := func(name string) journal.Place {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			at, err := j.PlaceOf(ctx, events.Access, name)
			if err == nil && at.AckedTo >= last || time.Now().After(deadline) {
				return at
			}
		}
	}
	for _, name := range []string{"all", "picky", "idp"} {
		if at := settled(name); at.AckedTo < last {
			t.Errorf("the cursor of %s is %+v, the stream ends at %d", name, at, last)
		}
	}
	ordered := func(name string, r *receiver) map[uint64]bool {
		t.Helper()
		seen, highest, repeats := map[uint64]bool{}, uint64(0), 0
		for _, seq := range r.taken(r.until(func([]request) bool { return true })) {
			if !seen[seq] && seq < highest {
				t.Errorf("%s: %d came first after %d", name, seq, highest)
			}
			if seen[seq] {
				repeats++
			}
			seen[seq], highest = true, max(highest, seq)
		}
		t.Logf("%s: %d events, %d of them again", name, len(seen), repeats)
		return seen
	}
	gotAll, gotPicky := ordered("all", all), ordered("picky", picky)
	letters := map[uint64]int{}
	for e, err := range j.Replay(ctx, events.Access, "access.consumer.picky") {
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := e.Data.(*events.ConsumerEventSetAside); ok {
			letters[d.StreamSequence]++
		}
	}
	for _, seq := range want {
		if !gotAll[seq] {
			t.Errorf("all: %d never came", seq)
		}
		if got := gotPicky[seq]; got == refuses(seq) || refuses(seq) != (letters[seq] == 1) {
			t.Errorf("picky: %d came %t, dead letters %d", seq, got, letters[seq])
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		mu.Lock()
		n := len(heard)
		mu.Unlock()
		if n >= len(want) {
			break
		} else if time.Now().After(deadline) {
			t.Errorf("%d of %d locks were heard of by polling", n, len(want))
			break
		}
	}
	endPolls()
	polling.Wait()
	if len(heard) != len(want) || int64(len(want)) < placed.Load() {
		t.Errorf("%d locks stand in the stream, %d were placed, %d heard of", len(want), placed.Load(), len(heard))
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pollOnce polls over whichever broker; one that is dead is an error.
func pollOnce(ctx context.Context, p *poller, url string, acks []string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]any{"ack": acks, "returnImmediately": true})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	var out polled
	err = json.NewDecoder(resp.Body).Decode(&out)
	return out.Sets, err
}
