package identity

import (
	"testing"
	"time"
)

// A clock that was ahead, and was set back, shuts nobody out for as long as it was ahead.
func TestClockSetBack(t *testing.T) {
	ahead := at.Add(24 * time.Hour)
	now := ahead
	show := openCA(t).Server([]string{"localhost"}, func() time.Time { return now })
	first, _, err := show()
	if err != nil {
		t.Fatal(err)
	}
	now = at
	cert, _, err := show()
	if err != nil {
		t.Fatal(err)
	}
	if at.Before(cert.Leaf.NotBefore) {
		t.Errorf("at %s a certificate is shown that begins at %s", at, cert.Leaf.NotBefore)
	}
	if again, _, err := show(); err != nil || again != cert || cert == first {
		t.Error("it is made at each connection, or was not made again")
	}

	throttle := NewThrottle()
	for range 2 * freeFailures {
		throttle.Failed("alice", "192.0.2.1", ahead)
	}
	if d := throttle.Wait("alice", "192.0.2.1", at); d == 0 || d > longestWait {
		t.Errorf("alice waits %s", d)
	}
}
