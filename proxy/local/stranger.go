package local

import (
	"net"
	"sync"

	"github.com/rs/zerolog"
)

// Own has a listener on loopback take no connections of other users of this machine, where
// the kernel tells whose they are. Nobody but its own user and root has any business with
// what is here: the keys to sign with, and the CA to trust, are in files of the user's. But
// without it others have requests that take no signature recorded as the user's, reach other
// hosts as the user does, and come before the user's browser for what it was sent for.
func Own(l net.Listener, log zerolog.Logger) net.Listener { return &own{Listener: l, log: log} }

type own struct {
	net.Listener
	log  zerolog.Logger
	said sync.Once // they may try as often as they like
}

func (l *own) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !stranger(c) {
			return c, err
		}
		l.said.Do(func() {
			l.log.Warn().Stringer("from", c.RemoteAddr()).Msg("connections of other users of this machine are refused")
		})
		_ = c.Close()
	}
}
