package journal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events/journal"
)

// A deposit is there for other proxies until its time is over, and is not replaced.
func TestDeposit(t *testing.T) {
	server := embeddedtest.StartNATS(t)
	if err := journal.Setup(t.Context(), embeddedtest.Connect(t, server, "admin", embedded.Admin()), journal.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	var js [2]*journal.Journal
	for i, name := range []string{"one", "two"} {
		var err error
		if js[i], err = journal.New(embeddedtest.Connect(t, server, name, embedded.Proxy()), "/postern/proxy/"+name); err != nil {
			t.Fatal(err)
		}
	}
	one, two, ctx := js[0], js[1], t.Context()
	if _, err := two.Deposited(ctx, "ASIA1"); !errors.Is(err, journal.ErrNoKey) {
		t.Errorf("before: %v", err)
	}
	if err := one.Deposit(ctx, "ASIA1", []byte("sealed"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := one.Deposit(ctx, "ASIA2", []byte("short"), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got, err := two.Deposited(ctx, "ASIA1"); err != nil || string(got) != "sealed" {
		t.Errorf("%q, %v", got, err)
	}
	if err := two.Deposit(ctx, "ASIA1", []byte("other"), time.Hour); !errors.Is(err, journal.ErrConflict) {
		t.Errorf("a second value: %v", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := two.Deposited(ctx, "ASIA2")
		if errors.Is(err, journal.ErrNoKey) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("after its time: %v", err)
		}
	}
	if got, err := two.Deposited(ctx, "ASIA1"); err != nil || string(got) != "sealed" {
		t.Errorf("meanwhile the other: %q, %v", got, err)
	}
}
