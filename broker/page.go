package broker

import (
	"context"
	"errors"
	"net/http"
	"unicode"
	"unicode/utf8"

	"github.com/posternhq/postern/broker/api"
)

// visit is one request of a browser.
type visit struct {
	*http.Request
	w http.ResponseWriter
	b *Broker
}

// webRoutes are the pages. The paths of OIDC and SAML are Teleport's, so that
// identity providers need not be told new ones.
func (b *Broker) webRoutes() map[string]func(*visit) error {
	return map[string]func(*visit) error{
		"GET /web/invite":                    b.getInvite,
		"POST /web/invite":                   b.postInvite,
		"GET /web/login":                     b.getLoginPage,
		"POST /web/login":                    b.postLoginPage,
		"POST /web/factor":                   b.postFactorPage,
		"POST /web/enroll":                   b.postEnrollPage,
		"GET /v1/webapi/oidc/callback":       b.oidcCallback,
		"POST " + samlPath + "{name}":        b.samlResponse,
		"GET " + samlMetadataPath + "{name}": b.samlMetadata,
	}
}

func (b *Broker) servePage(serve func(*visit) error, w http.ResponseWriter, req *http.Request) {
	req.Body = http.MaxBytesReader(w, req.Body, maxBody)
	v := &visit{req, w, b}
	err := b.answers()
	if err == nil {
		err = serve(v)
	}
	if err == nil {
		return
	}
	e := asAPI(err)
	if e.Status >= 500 {
		b.log.Error().Err(err).Str("path", req.URL.Path).Msg("page failed")
		e = &api.Error{Status: e.Status, Message: "this does not work at the moment: try again"}
	}
	if err := v.show(e.Status, "done", donePage{Title: "That did not work", Fault: sentence(e.Message), Command: e.Next}); err != nil {
		b.log.Error().Err(err).Str("path", req.URL.Path).Msg("page failed")
	}
}

type donePage struct{ Title, Text, Fault, Command string }

func (v *visit) show(status int, name string, data any) error {
	return v.b.pages.Write(v.w, status, name, data)
}

// again shows a form once more with what was wrong; an error that no other input
// mends is passed on.
func (v *visit) again(name string, err error, data func(fault string) any) error {
	e := asAPI(err)
	if e.Status >= 500 || e.Status == http.StatusForbidden {
		return err
	}
	return v.show(e.Status, name, data(sentence(e.Message)))
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:] + "."
}

func (v *visit) addr() string { return (&call{Request: v.Request}).clientAddr() }

// detached keeps what was decided going when the browser does not wait.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
}

var errNoKeys = errors.New("security keys need the pages to be at a host name, not at an address (broker.public_addr)")
