package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/proxy/local"
)

// browserReturn is where a browser on this machine brings what it came to: a port
// on loopback, and the verifier without which the code is worth nothing to others
// (RFC 8252, RFC 7636).
type browserReturn struct {
	port                int
	verifier, challenge string
	codes               chan string
	server              *http.Server
}

func newBrowserReturn(ctx context.Context, log zerolog.Logger) (*browserReturn, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &browserReturn{port: listener.Addr().(*net.TCPAddr).Port, verifier: rand.Text() + rand.Text(), codes: make(chan string, 1)}
	sum := sha256.Sum256([]byte(b.verifier))
	b.challenge = base64.RawURLEncoding.EncodeToString(sum[:])
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		select {
		case b.codes <- r.URL.Query().Get("code"):
		default: // one is enough
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, "<!doctype html><html lang=en><meta charset=utf-8><title>Done · postern</title>"+
			"<body style='font:1.1rem system-ui;margin:15vh auto;max-width:27rem'><h1>Done</h1><p>Go back to the terminal; you can close this page.</p>")
	})
	b.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = b.server.Serve(local.Own(listener, log)) }() // ends with Close
	return b, nil
}

// wait sends a browser on its way and waits for what it brings.
func (b *browserReturn) wait(ctx context.Context, c *cli, to api.Browser) (string, error) {
	defer func() { // the browser shall have its page
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = b.server.Shutdown(stop)
	}()
	c.say("Go on in your browser. If none opens, visit\n  %s", to.URL)
	if err := launchBrowser(ctx, to.URL); err != nil {
		c.say("(no browser could be opened: %v)", err)
	}
	ctx, cancel := context.WithDeadline(ctx, to.ExpiresAt)
	defer cancel()
	select {
	case code := <-b.codes:
		return code, nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return "", errors.New("nothing came from the browser in time: try again")
		}
		return "", ctx.Err()
	}
}

// browserCommand runs $BROWSER, or what opens links on this system; nil where that is
// "none", which opens none. It outlives ctx: browsers stay.
func browserCommand(ctx context.Context, url string) *exec.Cmd {
	command := []string{os.Getenv("BROWSER")}
	switch {
	case command[0] == "none":
		return nil
	case command[0] != "":
	case runtime.GOOS == "darwin":
		command = []string{"open"}
	case runtime.GOOS == "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	default:
		command = []string{"xdg-open"}
	}
	return exec.CommandContext(context.WithoutCancel(ctx), command[0], append(command[1:], url)...)
}

// launchBrowser opens a link.
func launchBrowser(ctx context.Context, url string) error {
	cmd := browserCommand(ctx, url)
	if cmd == nil {
		return nil
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
