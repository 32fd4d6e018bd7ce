package local

import (
	"net/url"
	"slices"
	"strings"
)

// awsDomains are the domains of AWS's APIs, to which the local CA is
// constrained (partitions.json of AWS's endpoint rules; AWS General Reference,
// "Service endpoints").
func awsDomains() []string {
	return []string{
		"amazonaws.com", "api.aws", "on.aws", "signin.aws.amazon.com",
		"amazonaws.com.cn", "api.amazonwebservices.com.cn", "on.amazonwebservices.com.cn", "signin.amazonaws.cn",
		"signin.amazonaws-us-gov.com",
		"c2s.ic.gov", "api.aws.ic.gov", "sc2s.sgov.gov", "api.aws.scloud",
		"cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", "csp.hci.ic.gov", "api.aws.hci.ic.gov",
		"amazonaws.eu", "api.amazonwebservices.eu", "on.amazonwebservices.eu",
	}
}

// isAWS tells the hosts of AWS's APIs, at which requests are signed, from all
// others. It takes "host" or "host:port" in lower case. Customers' machines under
// AWS's domains (load balancers, databases, Kubernetes) are among the others,
// and so are registries that take a token of their own.
func (h *Helper) isAWS(host string) bool {
	if strings.Contains(host, ".dkr.ecr.") || strings.Contains(host, ".d.codeartifact.") || strings.HasPrefix(host, "git-codecommit.") {
		return false
	}
	_, err := h.cfg.Table.ParseHost(host)
	return err == nil
}

// underAWS says whether a host, in lower case, is under one of AWS's domains.
func underAWS(host string) bool {
	return slices.ContainsFunc(awsDomains(), func(domain string) bool { return host == domain || strings.HasSuffix(host, "."+domain) })
}

// bareHost is the host of "host:port" or "host", in lower case.
func bareHost(hostport string) string {
	return strings.ToLower((&url.URL{Host: hostport}).Hostname())
}

// relative is a host name without the dot at the end that makes it absolute: DNS finds
// the same machine by both (RFC 1034, section 3.1).
func relative(host string) string { return strings.TrimSuffix(host, ".") }
