package clustertest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/events/journal"
)

// A node that is cut off from the others goes on answering for the stream: as its
// leader for ten seconds and more, and afterwards, without a leader, by what it
// has. Whoever reaches this node alone must not take that for the stream's end.
func TestIsolatedLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: waits until a node has noticed that it is alone")
	}
	dir := t.TempDir()
	n := startNodes(t, dir, build(t, dir, "github.com/nats-io/nats-server/v2"))
	all := n.connect(t, "postern", n.addrs)
	eventually(t, "streams are set up", func() error {
		return journal.Setup(t.Context(), all, journal.StreamsConfig{Replicas: replicas})
	})
	js, err := jetstream.New(all)
	if err != nil {
		t.Fatal(err)
	}
	leader := -1
	eventually(t, "ACCESS has a leader", func() error {
		s, err := js.Stream(t.Context(), events.Access)
		if err != nil {
			return err
		}
		for i, p := range n.procs {
			if p.name == s.CachedInfo().Cluster.Leader {
				leader = i
			}
		}
		return nil
	})
	near, err := journal.New(n.connect(t, "postern", n.addrs[leader:leader+1]), "/postern/near")
	if err != nil {
		t.Fatal(err)
	}
	far, err := journal.New(n.connect(t, "postern", append(n.addrs[:leader:leader], n.addrs[leader+1:]...)), "/postern/far")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is certain", func() error {
		_, age, err := near.End(t.Context(), events.Access)
		if err == nil && age > 3*time.Second {
			t.Errorf("all is well, and the end is certain as of %s ago", age)
		}
		return err
	})

	n.part(leader, (*link).cut)
	cut := time.Now()
	var appended time.Time
	eventually(t, "the others elect a leader and take a lock", func() error {
		_, err := far.Append(t.Context(), events.Event{Data: &events.LockPlaced{LockID: journal.NewID(), Target: events.LockTarget{Kind: "user", Name: "alice"}, By: "admin"}})
		appended = time.Now()
		return err
	})
	// From then on an answer by which there is no lock is certain as of before it.
	stale, leaderless := 0, 0
	for time.Since(cut) < 12*time.Second {
		asked := time.Now()
		last, age, err := near.End(t.Context(), events.Access)
		switch plain, other := near.Last(t.Context(), events.Access); {
		case err != nil && other == nil && plain == 0:
			leaderless++
		case err == nil && last == 0:
			stale++
			if asOf := asked.Add(-age); asOf.After(appended) {
				t.Fatalf("%s after the node was cut off: the stream is empty as of %s after a lock was taken", time.Since(cut), asOf.Sub(appended))
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("a lock was taken after %s; %d stale answers with their age, %d without a leader", appended.Sub(cut), stale, leaderless)
	if stale+leaderless == 0 {
		t.Error("the node never told what is not so: the test shows little")
	}
}
