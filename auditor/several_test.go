package auditor_test

import (
	"syscall"
	"testing"

	"github.com/posternhq/postern/events"
)

// Of several auditors one writes, and another one goes on when it is stopped or
// killed: nothing is lost, stored twice or judged twice.
func TestSeveralAuditors(t *testing.T) {
	w := newApart(t)
	first, second, third := w.run(), w.run(), w.run()
	const portion = 2_000
	said := 0
	for _, next := range []func() error{
		func() error { return first.Process.Signal(syscall.SIGSTOP) },
		func() error { return second.Process.Kill() },
		func() error { return first.Process.Signal(syscall.SIGCONT) },
		func() error { return third.Process.Kill() },
		func() error { return nil },
	} {
		publishFrom(t, w.j, said, said+portion)
		said += portion
		last, err := w.j.Last(t.Context(), events.Audit)
		if err != nil {
			t.Fatal(err)
		}
		w.until("all is stored", func() bool { return w.stored(events.Audit) >= last })
		if err := next(); err != nil {
			t.Fatal(err)
		}
	}
	w.check(said)
}
