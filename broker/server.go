package broker

import (
	"crypto/tls"
	stdlog "log"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Bounds of the HTTP server.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeader         = 32 << 10
	maxBody           = 1 << 20
	shutdownTimeout   = 10 * time.Second
)

// server is the HTTPS server. It asks for a client certificate and takes any:
// the handlers judge it, so that whoever shows an old one reads why it will
// not do, rather than see a broken handshake.
func (b *Broker) server() *http.Server {
	return &http.Server{
		Handler: b.handler,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS13,
			ClientAuth:     tls.RequestClientCert,
			GetCertificate: b.certificate,
		},
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          stdlog.New(debugLog{b.log}, "", 0),
	}
}

// debugLog takes what net/http complains about: broken handshakes of whoever
// knocks, which nobody is to be woken for.
type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(line []byte) (int, error) {
	d.log.Debug().Msg(strings.TrimSpace(string(line)))
	return len(line), nil
}
