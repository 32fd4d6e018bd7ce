package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/posternhq/postern/proxy/awserr"
	"github.com/posternhq/postern/proxy/sigv4"
)

const credentialsHint = "use the environment that `postern proxy aws` printed, or run the command with `postern exec -- COMMAND`"

// refuse answers a request that was not verified, and so not forwarded.
func (h *Helper) refuse(w http.ResponseWriter, r *http.Request, err error) {
	giveUp(r, nil)
	e := refusal(r, err)
	e.RequestID = ulid.Make().String()
	// No query: a presigned one is a credential.
	h.log.Warn().Str("request_id", e.RequestID).Str("code", e.Code).Str("method", r.Method).
		Str("host", r.Host).Str("path", r.URL.Path).Err(err).Msg("request refused")
	awserr.Write(w, r, e)
}

// giveUp closes the connection of a client that went away. Whoever has only said all that it
// has to say, and still listens, is not to hear net/http's 200 for a handler without words.
func giveUp(r *http.Request, err error) {
	if r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler)
	}
}

func refusal(r *http.Request, err error) awserr.Error {
	e := awserr.Error{Status: http.StatusForbidden}
	if errors.Is(err, errForm) {
		e.Code, e.Message = awserr.AccessDenied(r), fmt.Sprintf("postern: %v: presign a PUT instead (of PutObject, by an SDK)", err)
		return e
	}
	if se, ok := errors.AsType[*sigv4.Error](err); ok && !errors.Is(err, errTarget) {
		e.Status, e.Code = se.Status(), se.Code(awserr.WrongSignature(r))
		switch se.Kind {
		case sigv4.ErrMismatch:
			e.Message = fmt.Sprintf("postern: %v: the secret key is not the one of this `postern proxy aws`, or something changed the request on its way; %s", err, credentialsHint)
		case sigv4.ErrMissing:
			e.Message = fmt.Sprintf("postern: %v in a way that postern knows; %s", err, credentialsHint)
		default:
			e.Message = fmt.Sprintf("postern: %v", err)
		}
		return e
	}
	switch {
	case errors.Is(err, errUnknownKey):
		e.Code = awserr.UnknownAccessKey(r)
		e.Message = fmt.Sprintf("postern: %v: this `postern proxy aws` did not give it out (a --profile, AWS_PROFILE or shared credentials file in the way, or a proxy that was restarted?); %s", err, credentialsHint)
	case errors.Is(err, errOver):
		e.Code, e.Message = awserr.AccessDenied(r), fmt.Sprintf("postern: %v", err)
	case errors.Is(err, errHeaders):
		e.Status, e.Code, e.Message = http.StatusBadRequest, "RequestHeaderSectionTooLarge", fmt.Sprintf("postern: %v", err)
	case errors.Is(err, errMisdirected):
		e.Status, e.Code, e.Message = http.StatusMisdirectedRequest, "InvalidRequest", fmt.Sprintf("postern: %v", err)
	default:
		e.Status, e.Code, e.Message = http.StatusBadRequest, "InvalidRequest", fmt.Sprintf("postern: %v", err)
	}
	return e
}

// isForm tells the form of a browser's POST to S3, which has its signature among
// its fields (https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html).
func (h *Helper) isForm(r *http.Request) bool {
	host, err := h.cfg.Table.ParseHost(relative(bareHost(r.Host)))
	return err == nil && host.S3 != 0 && r.Method == http.MethodPost &&
		strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/form-data")
}

// Refusal is a call that the proxy refused and that can be asked for.
type Refusal struct {
	SessionID string
	// Role, if asked for, would allow the call; or AccessRequest is the request for
	// the call itself, which waits.
	Role, AccessRequest string
}

// refusal takes what the proxy says to the helper alone out of an answer.
func (h *Helper) refusal(resp *http.Response) {
	r := Refusal{resp.Request.Header.Get("Postern-Session"), resp.Header.Get("Postern-Requestable-Role"), resp.Header.Get("Postern-Access-Request")}
	resp.Header.Del("Postern-Requestable-Role")
	resp.Header.Del("Postern-Access-Request")
	resp.Header.Del("Postern-Session-Over")
	h.sayHead(resp)
	if h.cfg.Refused != nil && resp.StatusCode == http.StatusForbidden && (r.Role != "" || r.AccessRequest != "") {
		h.cfg.Refused(r)
	}
}

// sayHead tells the user why the proxy refused a HEAD: its answer has no body, and of the
// headers that AWS's error is in, clients show none.
func (h *Helper) sayHead(resp *http.Response) {
	why, refused := strings.CutPrefix(resp.Header.Get("X-Amz-Error-Message"), "postern: ")
	if r := resp.Request; refused && r.Method == http.MethodHead {
		h.log.Warn().Str("code", resp.Header.Get("X-Amz-Error-Code")).Str("method", r.Method).
			Str("host", r.Host).Str("path", r.URL.Path).Str("reason", why).Msg("request refused")
	}
}

// unreachable answers a verified request that the proxy gave no answer to.
func (h *Helper) unreachable(w http.ResponseWriter, r *http.Request, err error) {
	giveUp(r, err)
	if _, ok := errors.AsType[*sigv4.Error](err); ok {
		h.refuse(w, r, err) // a chunk of the body was not signed right
		return
	}
	v, _ := r.Context().Value(verifiedKey{}).(*verified)
	if broken := v.garbled(); broken != nil {
		w.Header().Set("Connection", "close") // where the next request begins, nobody knows
		h.refuse(w, r, broken)
		return
	}
	if errors.Is(err, errOver) || errors.Is(err, errHeaders) {
		h.refuse(w, r, err)
		return
	}
	e := awserr.Error{
		// A proxy that restarts is back soon: this is for the client to retry.
		Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable",
		Message:   fmt.Sprintf("postern: no answer from the postern proxy at %s: %v; is it running, and reachable from here?", h.cfg.ProxyAddr, err),
		RequestID: ulid.Make().String(),
	}
	// crypto/tls tells of the other side's alerts in this way.
	alert, refused := errors.AsType[*net.OpError](err)
	refused = refused && alert.Op == "remote error"
	verr, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	invalid, expired := errors.AsType[x509.CertificateInvalidError](err)
	expired = expired && invalid.Reason == x509.Expired
	switch {
	case expired: // or one of the clocks is wrong
		e.Message = fmt.Sprintf("postern: the certificate of the postern proxy at %s has expired (%v): its operator has to let it join again: postern tokens add --type=proxy", h.cfg.ProxyAddr, invalid)
	case refused:
		e.Status, e.Code = http.StatusForbidden, awserr.AccessDenied(r)
		e.Message = fmt.Sprintf("postern: the postern proxy at %s refused this user's certificate (%v): sign in again: postern login", h.cfg.ProxyAddr, alert.Err)
	case untrusted, unknown:
		e.Status, e.Code = http.StatusForbidden, awserr.AccessDenied(r)
		e.Message = fmt.Sprintf("postern: the server at %s does not prove to be the postern proxy (%v): check the address, or sign in again: postern login", h.cfg.ProxyAddr, cause(verr, err))
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// Where not all of the body was read the connection ends, and the client has to know.
		w.Header().Set("Connection", "close")
	}
	h.log.Error().Str("request_id", e.RequestID).Str("host", r.Host).Err(err).Msg("proxy gave no answer")
	awserr.Write(w, r, e)
}

func cause(verr *tls.CertificateVerificationError, err error) error {
	if verr != nil {
		return verr.Err
	}
	return err
}
