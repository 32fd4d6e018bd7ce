package broker

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/identity"
	"github.com/posternhq/postern/broker/web"
)

// route is one operation of the API; openapi.yaml describes every one of them.
type route struct {
	method, path string
	// open routes need no certificate.
	open   bool
	handle func(*call) (any, error)
}

// call is one request to the API.
type call struct {
	*http.Request
	header http.Header // of the answer
	// who is zero on open routes.
	who identity.Person
}

// created is an answer with status 201.
type created struct{ body any }

// text is an answer that is not JSON.
type text struct {
	mediaType string
	body      []byte
}

func (b *Broker) table() []route {
	return []route{
		{"GET", "/v1/health", true, b.getHealth},
		{"GET", "/v1/openapi.json", true, b.getOpenAPI},
		{"GET", "/v1/ca", true, b.getCA},
		{"POST", "/v1/ca/rotate", false, b.postRotate},
		{"POST", "/v1/login", true, b.postLogin},
		{"GET", "/v1/login/ways", true, b.getWays},
		{"POST", "/v1/login/browser", true, b.postLoginBrowser},
		{"POST", "/v1/login/browser/finish", true, b.postLoginFinish},
		{"POST", "/v1/login/device", true, b.postDevice},
		{"POST", "/v1/login/device/finish", true, b.postDeviceFinish},
		{"GET", "/v1/signins", false, b.getSignins},
		{"DELETE", "/v1/signins/{serial}", false, b.deleteSignin},
		{"GET", "/v1/factors", false, b.getFactors},
		{"POST", "/v1/factors/browser", false, b.postFactorBrowser},
		{"GET", "/v1/status", false, b.getStatus},
		{"GET", "/v1/apps", false, b.getApps},
		{"POST", "/v1/sessions", false, b.postSession},
		{"GET", "/v1/sessions", false, b.getSessions},
		{"GET", "/v1/sessions/{id}", false, b.getSession},
		{"DELETE", "/v1/sessions/{id}", false, b.deleteSession},
		{"POST", "/v1/requests", false, b.postRequest},
		{"GET", "/v1/requests", false, b.getRequests},
		{"GET", "/v1/requests/{id}", false, b.getRequest},
		{"DELETE", "/v1/requests/{id}", false, b.deleteRequest},
		{"POST", "/v1/requests/{id}/reviews", false, b.postReview},
		{"POST", "/v1/requests/{id}/revocation", false, b.postRevocation},
		{"POST", "/v1/request-previews", false, b.postPreview},
		{"GET", "/v1/access", false, b.getAccess},
		{"GET", "/v1/access/diff", false, b.getAccessDiff},
		{"POST", "/v1/requests/{id}/promotion", false, b.postPromotion},
		{"GET", "/v1/lists", false, b.getLists},
		{"GET", "/v1/lists/{name}", false, b.getList},
		{"POST", "/v1/lists/{name}/members", false, b.postMember},
		{"DELETE", "/v1/lists/{name}/members/{kind}/{member}", false, b.deleteMember},
		{"POST", "/v1/lists/{name}/reviews", false, b.postListReview},
		{"POST", "/v1/locks", false, b.postLock},
		{"GET", "/v1/locks", false, b.getLocks},
		{"DELETE", "/v1/locks/{id}", false, b.deleteLock},
		{"POST", "/v1/tokens", false, b.postToken},
		{"GET", "/v1/tokens", false, b.getTokens},
		{"GET", "/v1/metrics", false, b.getMetrics},
		{"POST", "/v1/consumers", false, b.postConsumer},
		{"GET", "/v1/consumers", false, b.getConsumers},
		{"DELETE", "/v1/consumers/{name}", false, b.deleteConsumer},
		{"POST", "/v1/consumers/{name}/secret", false, b.postSecret},
		{"POST", "/v1/consumers/{name}/resume", false, b.postResume},
		{"POST", "/v1/consumers/{name}/verification", false, b.postVerification},
		{"GET", "/v1/consumers/{name}/dead-letters", false, b.getConsumerLetters},
		{"POST", "/v1/consumers/{name}/dead-letters/{sequence}/replay", false, b.postConsumerReplay},
		{"GET", "/.well-known/ssf-configuration", true, b.getSSFConfiguration},
		{"GET", keysPath, true, b.getSSFKeys},
		{"POST", "/v1/audit-tokens", false, b.postAuditToken},
		{"GET", "/v1/audit-tokens", false, b.getAuditTokens},
		{"DELETE", "/v1/audit-tokens/{name}", false, b.deleteAuditToken},
		{"POST", "/v1/join/challenge", true, b.postJoinChallenge},
		{"POST", "/v1/join", true, b.postJoin},
		{"POST", "/v1/join/renew", true, b.postRenew},               // with a service's certificate
		{"POST", "/v1/join/announcement", true, b.postAnnouncement}, // with a proxy's certificate
		{"DELETE", "/v1/join/announcement", true, b.deleteAnnouncement},
		{"POST", "/v1/resources", false, b.postResources},
		{"GET", "/v1/resources/{kind}", false, b.getResources},
		{"GET", "/v1/resources/{kind}/{name}", false, b.getResource},
		{"DELETE", "/v1/resources/{kind}/{name}", false, b.deleteResource},
		{"PUT", "/v1/users/{name}/password", false, b.putPassword},
		{"POST", "/v1/users/{name}/invitation", false, b.postInvitation},
		{"POST", "/v1/people", false, b.postPerson},
		{"GET", "/v1/people", false, b.getPeople},
		{"POST", "/v1/people/{name}/forget", false, b.postForget},
	}
}

// routes builds the handler of the API.
func (b *Broker) routes() (http.Handler, error) {
	spec, err := openAPI()
	if err != nil {
		return nil, err
	}
	b.openAPI = spec
	mux := http.NewServeMux()
	for _, r := range b.table() {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { b.serve(r, b.admit, w, req) })
	}
	for _, r := range b.receiverTable() {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) {
			b.serve(r, b.authenticateReceiver, w, req)
		})
	}
	for pattern, serve := range b.webRoutes() {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) { b.servePage(serve, w, req) })
	}
	mux.Handle("GET /web/static/", web.Static())
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		b.fail(w, req, &api.Error{Status: http.StatusNotFound, Code: api.CodeNotFound,
			Message: "there is no " + req.Method + " " + req.URL.Path + " here", Next: "GET /v1/openapi.json"})
	})
	// A browser that holds a client certificate must not act for other sites. SAML's
	// responses come from the provider's: they prove themselves.
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b.fail(w, req, &api.Error{Status: http.StatusForbidden, Code: api.CodeDenied, Message: "a page of another site asks for this: nothing was done"})
	}))
	cross.AddInsecureBypassPattern("POST " + samlPath + "{name}")
	return cross.Handler(mux), nil
}

// admit lets in who shows a certificate.
func (b *Broker) admit(c *call) (err error) {
	c.who, err = b.authenticate(c.Request)
	return err
}

// errReading is what everybody is told who comes early, such as probes.
var errReading = &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable, Message: "the broker is still reading its history: try again in a moment"}

// answers is why the API does not answer now, nil if it does.
func (b *Broker) answers() error {
	select {
	case <-b.ledger.ready:
	default:
		return errReading
	}
	if err := b.ledger.goneBack(); err != nil {
		return &api.Error{Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable,
			Message: "the broker ends, to read its history anew: that is not what it has read any more (" + err.Error() + ")"}
	}
	return nil
}

func (b *Broker) serve(r route, admit func(*call) error, w http.ResponseWriter, req *http.Request) {
	if err := b.answers(); err != nil {
		b.fail(w, req, err)
		return
	}
	c := &call{Request: req, header: w.Header()}
	req.Body = http.MaxBytesReader(w, req.Body, maxBody)
	if !r.open {
		if err := admit(c); err != nil {
			b.fail(w, req, err)
			return
		}
	}
	answer, err := r.handle(c)
	if err != nil {
		b.fail(w, req, err)
		return
	}
	b.answer(w, req, answer)
}

// clockTolerance is how far the clocks of brokers may be apart.
const clockTolerance = 5 * time.Second

// authenticate reads the caller from the certificate that the connection
// showed. Users who are gone, disabled or locked are refused however good
// their certificate is.
func (b *Broker) authenticate(req *http.Request) (identity.Person, error) {
	if req.TLS == nil {
		return identity.Person{}, unauthenticated("the connection is not TLS")
	}
	who, err := b.ca.Verify(req.TLS.PeerCertificates, b.now())
	if err != nil {
		return identity.Person{}, unauthenticated(err.Error())
	}
	b.ledger.read(func(s *access.State, now time.Time) { err = admitted(s, now, who) })
	return who, err
}

// admitted says why a certificate does not do, however good it is, or nil.
func admitted(s *access.State, now time.Time, who identity.Person) error {
	u, err := access.Admit(s, now, who.User)
	if err == nil {
		err = s.Holds(who.Serial)
	}
	if err == nil {
		err = access.AdmitDevice(s, now, who.Device)
	}
	if err != nil {
		return err
	}
	earlier, known := s.OfEarlier(u, who.Serial)
	if !known {
		earlier = who.IssuedAt.Before(u.CreatedAt.Add(-clockTolerance))
	}
	if earlier {
		return unauthenticated("the certificate is of an earlier user of this name")
	}
	return nil
}

func unauthenticated(reason string) *api.Error {
	return &api.Error{Status: http.StatusUnauthorized, Code: api.CodeUnauthenticated, Message: reason, Next: "postern login"}
}

// clientAddr is the caller's address, without the port.
func (c *call) clientAddr() string {
	if host, _, err := net.SplitHostPort(c.RemoteAddr); err == nil {
		return host
	}
	return c.RemoteAddr
}

// do carries out a command of the caller, if before lets it.
func (b *Broker) do(ctx context.Context, who identity.Person, decide decision) error {
	_, err := b.ledger.do(ctx, who.User, decide)
	return err
}
