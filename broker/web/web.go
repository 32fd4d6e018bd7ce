// Package web holds the pages that people see in a browser: plain HTML that works
// without JavaScript, except where a security key needs it. Nothing is loaded from
// elsewhere.
package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"

	"rsc.io/qr"
)

//go:embed pages static
var files embed.FS

// Pages writes pages.
type Pages struct{ pages map[string]*template.Template }

// New reads the templates.
func New() (*Pages, error) {
	p := &Pages{pages: map[string]*template.Template{}}
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		t, err := template.ParseFS(files, "pages/layout.html", "pages/parts.html", name)
		if err != nil {
			return nil, fmt.Errorf("page %s: %w", name, err)
		}
		p.pages[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return p, nil
}

// policy lets a page load what is postern's own and nothing else, and send forms
// to postern, which may send on to the terminal that waits on this machine.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"form-action 'self' http://127.0.0.1:*"

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// Write answers with a page.
func (p *Pages) Write(w http.ResponseWriter, status int, name string, data any) error {
	var body bytes.Buffer
	if err := p.pages[name].ExecuteTemplate(&body, "layout.html", data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	secure(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the browser has gone: nobody is left to tell
	return nil
}

// Static serves style sheet and script, under /web/static/.
func Static() http.Handler {
	root, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // it is embedded
	}
	serve := http.StripPrefix("/web/static/", http.FileServerFS(root))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		w.Header().Set("Cache-Control", "max-age=300")
		serve.ServeHTTP(w, r)
	})
}

// QR is a text as an SVG path of unit squares, and the side of the picture.
type QR struct {
	Path string
	Side int
}

// NewQR draws a QR code with a quiet zone (ISO/IEC 18004).
func NewQR(text string) (QR, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return QR{}, err
	}
	const quiet = 4
	var b strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	return QR{Path: b.String(), Side: code.Size + 2*quiet}, nil
}
