package clustertest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// link is the network from one process to another: it can be cut (connections
// break, new ones are refused) and frozen (nothing arrives until it thaws).
type link struct {
	to       string
	listener net.Listener
	frost    sync.RWMutex // held for writing while frozen

	mu    sync.Mutex
	isCut bool
	conns map[net.Conn]struct{}
}

func newLink(t testing.TB, to string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{to: to, listener: listener, conns: map[net.Conn]struct{}{}}
	t.Cleanup(func() {
		listener.Close()
		l.cut()
	})
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go l.join(in)
		}
	}()
	return l
}

// addr is where the near end connects.
func (l *link) addr() string { return l.listener.Addr().String() }

func (l *link) join(in net.Conn) {
	defer in.Close()
	if !l.keep(in) {
		return
	}
	defer l.drop(in)
	out, err := net.DialTimeout("tcp", l.to, time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	if !l.keep(out) {
		return
	}
	defer l.drop(out)
	go func() {
		l.carry(in, out)
		out.Close()
	}()
	l.carry(out, in)
}

func (l *link) carry(from, to net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			l.frost.RLock()
			_, err := to.Write(b[:n])
			l.frost.RUnlock()
			if err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isCut {
		l.conns[c] = struct{}{}
	}
	return !l.isCut
}

func (l *link) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for c := range l.conns {
		c.Close()
	}
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = false
}

func (l *link) freeze() { l.frost.Lock() }
func (l *link) thaw()   { l.frost.Unlock() }
