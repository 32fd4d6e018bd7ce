package simaws

import (
	"net/http"
	"net/url"
	"strings"
)

// serveUnknown refuses what is not simulated, in the shape of its protocol and
// with a status that no SDK retries. CloudTrail hears of it as of any failure.
func (s *Sim) serveUnknown(c *call) error {
	c.event.source = c.ep.service + ".amazonaws.com"
	c.event.name = s.operationOf(c)
	c.event.readOnly = c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	switch c.proto {
	case protoJSON, protoCBOR:
		target := c.r.Header.Get("X-Amz-Target")
		if c.proto == protoCBOR {
			target = c.path
		}
		c.event.nameIt(target[strings.LastIndexAny(target, "./")+1:])
		if err := c.authorize(c.ep.service+":"+c.event.name, "*"); err != nil {
			return err
		}
		return failure(http.StatusBadRequest, "UnknownOperationException", "The simulated AWS does not have "+c.ep.service+":"+c.event.name+".")
	case protoQuery, protoEC2:
		if err := c.parseForm(); err != nil {
			return err
		}
		c.event.nameIt(c.form.Get("Action"))
		if err := c.authorize(c.ep.service+":"+c.event.name, "*"); err != nil {
			return err
		}
		return failure(http.StatusBadRequest, "InvalidAction", "Could not find operation "+c.form.Get("Action")+" for version "+c.form.Get("Version")+": the simulated AWS does not have it.")
	}
	if err := c.authorize(c.ep.service+":"+c.event.name, "*"); err != nil {
		return err
	}
	return failure(http.StatusNotImplemented, "UnknownOperationException", "The simulated AWS does not have "+c.r.Method+" "+c.path+" of "+c.ep.service+".")
}

// operationOf names a REST call that is not simulated.
func (s *Sim) operationOf(c *call) string {
	if s.cfg.OperationOf != nil {
		if name := s.cfg.OperationOf(c.r); name != "" {
			return name
		}
	}
	return "UnknownOperation"
}

// parseForm reads the parameters of the query protocol, sent by POST or GET.
func (c *call) parseForm() error {
	raw := string(c.body)
	if c.r.Method == http.MethodGet {
		raw = c.query
	}
	var err error
	if c.form, err = url.ParseQuery(raw); err != nil {
		return failure(http.StatusBadRequest, "MalformedQueryString", "The query string contains a syntax error.")
	}
	return nil
}
