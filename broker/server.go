package broker

import (
	"crypto/tls"
	"net/http"
	"time"

	stdlog "log"
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
		ErrorLog:          stdlog.New(b.log.With().Str("from", "http").Logger(), "", 0),
	}
}
