package auditor_test

import (
	"syscall"
	"testing"

	"github.com/posternhq/postern/events"
)

// Several auditors divide the work, and others go on with what one did that is
// stopped or killed in the middle of it: nothing is lost, stored twice or judged
// twice.
func TestSeveralAuditors(t *testing.T) {
	t.Parallel()
	w := newApart(t)
	first, second, third := w.run(), w.run(), w.run()
	const portion = 2_000
	said := 0 // each of them is two events
	for _, next := range []func() error{
		func() error { return first.Process.Signal(syscall.SIGSTOP) },
		func() error { return second.Process.Kill() },
		func() error { return first.Process.Signal(syscall.SIGCONT) },
		func() error { return third.Process.Kill() },
		func() error { return nil },
	} {
		published := make(chan struct{})
		go func() {
			defer close(published)
			publishFrom(t, w.j, said, said+portion)
		}()
		w.until("some of it is stored", func() bool { return w.stored(events.Audit) >= uint64(2*said+portion/4) })
		if err := next(); err != nil {
			t.Fatal(err)
		}
		<-published
		said += portion
		w.until("all is stored", func() bool { return w.stored(events.Audit) >= uint64(2*said) })
	}
	w.check(said)
}
