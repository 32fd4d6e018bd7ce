package simaws

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxSmallBody is the largest request body kept in memory: every API but S3's
// objects fits (DynamoDB's limit is 16 MiB).
const maxSmallBody = 16 << 20

// call is one request on its way through the simulation, and what CloudTrail
// will say about it.
type call struct {
	w     *countingWriter
	r     *http.Request
	at    time.Time
	ep    endpoint
	proto protocol

	path, query string // as sent
	params      []param
	form        url.Values // query protocol
	body        []byte     // all but S3 objects
	bodyHash    string
	received    int64 // request body bytes, as counted by CloudTrail

	requestID, hostID string
	sig               *signature
	who               *identity
	event             event
}

// countingWriter remembers what was answered.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	failed bool // the client is gone
}

func (w *countingWriter) WriteHeader(code int) {
	if w.status == 0 {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	w.failed = w.failed || err != nil
	return n, err
}

// ServeHTTP answers for every host of AWS.
func (s *Sim) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c := &call{w: &countingWriter{ResponseWriter: rw}, r: r, at: s.now()}
	var ok bool
	if c.ep, ok = parseHost(r.Host); !ok || misdirected(r) {
		// The certificate was made for another name than Host asks for.
		http.Error(rw, "Host is not what TLS was set up for", http.StatusMisdirectedRequest)
		return
	}
	c.path, c.query = rawTarget(r)
	defer func() {
		s.log.Debug().Str("host", r.Host).Str("method", r.Method).Str("path", c.path).Int("status", c.w.status).
			Str("event", c.event.name).Str("request_id", c.requestID).Str("error", c.event.errorCode).Msg("simulated AWS call")
	}()
	switch c.ep.kind {
	case hostSignin:
		s.serveSignin(c)
		return
	case hostConsole:
		s.serveConsole(c)
		return
	}
	if c.ep.service == "ssmmessages" {
		s.serveDataChannel(rw, r)
		return
	}
	s.serveAPI(c)
}

// misdirected: SNI and Host must agree, as they do for AWS's front ends.
func misdirected(r *http.Request) bool {
	if r.TLS == nil || r.TLS.ServerName == "" {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return !strings.EqualFold(host, r.TLS.ServerName)
}

func (s *Sim) serveAPI(c *call) {
	var err error
	if c.params, err = parseParams(c.query); err != nil {
		http.Error(c.w, "bad query string", http.StatusBadRequest)
		return
	}
	c.recognise()
	defer func() {
		if c.who != nil {
			s.record(c)
		}
	}()
	if !c.ep.objects() && !c.converses() {
		if err := c.readSmallBody(); err != nil {
			c.fail(err)
			return
		}
	}
	if fail := s.authenticate(c); fail != nil {
		c.fail(fail)
		return
	}
	if err := s.dispatch(c); err != nil {
		c.fail(err)
	}
}

// recognise finds service and protocol, and sets the headers that every answer
// of that service carries.
func (c *call) recognise() {
	h := c.r.Header
	if c.ep.kind == hostLocal {
		// There is no host to tell by: believe the credential scope until the
		// signature has been checked.
		cred := h.Get("Authorization")
		for _, p := range c.params {
			if p.name == "X-Amz-Credential" {
				cred = p.value + ","
			}
		}
		if i := strings.Index(cred, "/aws4_request"); i >= 0 {
			if p := strings.Split(cred[:i], "/"); len(p) >= 3 {
				c.ep.region, c.ep.service = p[len(p)-2], p[len(p)-1]
			}
		}
	}
	if c.ep.service == "s3express" && !strings.HasPrefix(c.path, "/v20180820/") {
		c.ep.control = false // buckets, in the path
	}
	switch {
	case c.ep.objects():
		c.proto = protoS3
	case c.ep.service == "ec2":
		c.proto = protoEC2
	case strings.HasPrefix(h.Get("Smithy-Protocol"), "rpc-v2-cbor"):
		c.proto = protoCBOR
	case h.Get("X-Amz-Target") != "":
		c.proto = protoJSON
	case c.ep.control || c.ep.service == "route53" || c.ep.service == "cloudfront":
		c.proto = protoRESTXML
	case strings.HasPrefix(h.Get("Content-Type"), "application/x-www-form-urlencoded"), c.param("Action") != "":
		c.proto = protoQuery
	default:
		c.proto = protoRESTJSON
	}
	if c.proto == protoS3 {
		c.requestID, c.hostID = randomFrom(upper36, 16), randomFrom(secret, 75)+"="
		c.w.Header().Set("X-Amz-Request-Id", c.requestID)
		c.w.Header().Set("X-Amz-Id-2", c.hostID)
		c.w.Header().Set("Server", "AmazonS3")
		return
	}
	c.requestID = uuid.NewString()
	c.w.Header().Set("X-Amzn-Requestid", c.requestID)
}

// readSmallBody keeps the body when it fits and hashes it in any case.
func (c *call) readSmallBody() *apiError {
	sum := sha256.New()
	buf, err := io.ReadAll(io.TeeReader(io.LimitReader(c.r.Body, maxSmallBody), sum))
	if err == nil && len(buf) == maxSmallBody {
		var more int64
		if more, err = io.Copy(sum, c.r.Body); more > 0 {
			buf = nil // no simulated operation is that large
		}
		c.received = more
	}
	if err != nil {
		return failure(http.StatusBadRequest, "RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period.")
	}
	c.body, c.bodyHash = buf, hex.EncodeToString(sum.Sum(nil))
	c.received += int64(len(buf))
	return nil
}

// fail answers with an error. Too late for that, the connection is cut, so
// that the client sees a broken answer and not a short one.
func (c *call) fail(err error) {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = failure(http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again. ("+err.Error()+")")
	}
	c.event.errorCode, c.event.errorMessage = e.code, e.message
	if e.trailCode != "" {
		c.event.errorCode = e.trailCode
	}
	if c.w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	c.writeError(e)
}

func (s *Sim) dispatch(c *call) error {
	switch c.ep.service {
	case "s3", "s3express":
		if c.ep.control {
			return s.serveS3Control(c)
		}
		return s.serveS3(c)
	case "sts":
		return s.serveSTS(c)
	case "iam":
		return s.serveIAM(c)
	case "ec2":
		return s.serveEC2(c)
	case "dynamodb":
		return s.serveDynamoDB(c)
	case "sqs":
		return s.serveSQS(c)
	case "logs":
		return s.serveLogs(c)
	case "kinesis":
		return s.serveKinesis(c)
	case "cloudtrail":
		return s.serveCloudTrail(c)
	case "eks":
		return s.serveEKS(c)
	case "organizations":
		return s.serveOrganizations(c)
	case "lambda", "apigateway", "route53", "cloudfront":
		return s.serveRESTRead(c)
	case "ssm":
		return s.serveSSM(c)
	case "kms":
		return s.serveKMS(c)
	case "secretsmanager":
		return s.serveSecrets(c)
	case "sns":
		return s.serveSNS(c)
	case "monitoring":
		return s.serveCloudWatch(c)
	case "transcribe":
		return s.serveTranscribe(c)
	case "bedrock":
		return s.serveBedrock(c)
	}
	return s.serveUnknown(c)
}

// authorize asks the caller's policies about one action on one resource.
func (c *call) authorize(action, resource string, extra ...field) error {
	v := c.who.may(c.question(action, resource, extra...))
	if v == allow {
		return nil
	}
	return denied(c.proto, c.who, action, resource, v)
}

func (c *call) question(action, resource string, extra ...field) accessQuestion {
	keys := c.who.contextKeys(c.at, c.sourceIP(), c.ep.region)
	for _, f := range extra {
		keys[strings.ToLower(f.name)] = []string{f.value}
	}
	return accessQuestion{action: action, resource: resource, who: c.who, keys: keys}
}

func (c *call) sourceIP() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}

// param is the first query parameter of that name.
func (c *call) param(name string) string {
	v, _ := c.lookup(name)
	return v
}

func (c *call) lookup(name string) (string, bool) {
	for _, p := range c.params {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// answer writes a whole small answer.
func (c *call) answer(status int, contentType string, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if c.ep.service == "dynamodb" {
		h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		io.Copy(c.w, bytes.NewReader(body))
	}
}
