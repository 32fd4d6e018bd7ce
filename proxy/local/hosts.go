package local

import (
	"net/netip"
	"net/url"
	"strings"
)

// awsDomains are the domains of AWS's APIs (partitions.json of AWS's endpoint
// rules; AWS General Reference, "Service endpoints").
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

// isAWS tells the hosts of AWS APIs from all others. It takes a bare host name
// in lower case.
func isAWS(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false // the instance metadata service among others
	}
	for _, d := range awsDomains() {
		if rest, ok := strings.CutSuffix(host, "."+d); ok {
			return rest != "" && !customers(rest)
		}
	}
	return false
}

// customers tells, under AWS's own domains, the names that know nothing of AWS
// signatures: those of customers' machines (load balancers, instances,
// databases, Kubernetes), and registries that take a token of their own.
func customers(name string) bool {
	if strings.Contains(name, ".dkr.ecr.") || strings.Contains(name, ".d.codeartifact.") || strings.HasPrefix(name, "git-codecommit.") {
		return true
	}
	labels := strings.Split(name, ".")
	n := len(labels)
	switch last := labels[n-1]; last {
	case "elb", "compute", "compute-1", "rds", "eks", "cache", "redshift", "docdb", "neptune":
		return n > 1
	}
	return n > 2 && labels[n-2] == "elb" // name.elb.us-east-1.amazonaws.com
}

// bareHost is the host of "host:port" or "host", in lower case.
func bareHost(hostport string) string {
	return strings.ToLower((&url.URL{Host: hostport}).Hostname())
}
