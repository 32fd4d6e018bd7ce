package simaws

import (
	"net"
	"regexp"
	"strings"
)

type hostKind int

const (
	hostAPI     hostKind = iota
	hostLocal            // 127.0.0.1 or localhost: service and region come from the signature
	hostSignin           // federation endpoint and sign-in pages
	hostConsole          // management console
)

// endpoint is what a host name says about a request.
type endpoint struct {
	kind      hostKind
	service   string // signing name expected in the credential scope
	region    string // region expected in the credential scope; "" when the host does not fix it
	regionToo string // another region that is as good: the host's own, of a global service
	partition string // aws, aws-cn, aws-us-gov …
	bucket    string // S3, virtual-host style
	global    bool   // a global endpoint, which CloudTrail files under us-east-1 (or the partition's first region)
	control   bool   // s3-control, whose API is not S3's
	// multiRegion: bucket is the alias of a Multi-Region Access Point. Once the signature
	// is read, point is that, and bucket and region are those it leads to.
	multiRegion bool
	point       *regionPoint
}

// objects tells S3's own API, most of which S3 Express has too.
func (ep *endpoint) objects() bool {
	return (ep.service == "s3" || ep.service == "s3express") && !ep.control
}

// suffixes are AWS's API domains, longest first, with their partition.
var suffixes = []struct{ suffix, partition string }{
	{".api.amazonwebservices.com.cn", "aws-cn"},
	{".amazonaws.com.cn", "aws-cn"},
	{".api.aws.ic.gov", "aws-iso"},
	{".api.aws.scloud", "aws-iso-b"},
	{".sc2s.sgov.gov", "aws-iso-b"},
	{".c2s.ic.gov", "aws-iso"},
	{".amazonaws.com", "aws"},
	{".amazonaws.eu", "aws-eusc"},
	{".api.aws", "aws"},
	{".on.aws", "aws"},
}

// globalRegion is where the global services of a partition sign and log.
var globalRegion = map[string]string{
	"aws": "us-east-1", "aws-cn": "cn-northwest-1", "aws-us-gov": "us-gov-west-1",
	"aws-iso": "us-iso-east-1", "aws-iso-b": "us-isob-east-1", "aws-eusc": "eusc-de-east-1",
}

// fixedRegion services have regional host names in places and still sign for
// the partition's global region, most of the time (botocore's endpoint rules).
var fixedRegion = map[string]bool{
	"health": true, "billingconductor": true, "chime": true, "IngestionService": true,
	"organizations": true, "savingsplans": true, "shield": true, "waf": true, "sustainability": true,
}

// The number at the end is what tells a region from a label such as us-gov.
var regionLabel = regexp.MustCompile(`^(us|eu|ap|ca|sa|af|me|il|mx|cn|us-gov|us-iso|us-isob|us-isof|eu-isoe|eusc)-[a-z]+(-[a-z]+)?-[0-9]+$`)

func partitionOf(region, byDomain string) string {
	if strings.HasPrefix(region, "us-gov-") {
		return "aws-us-gov"
	}
	return byDomain
}

// parseHost reads a Host header or server name. ok is false when it is not a
// host of AWS (nor loopback).
func parseHost(host string) (endpoint, bool) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if ip := net.ParseIP(strings.Trim(host, "[]")); host == "localhost" || ip != nil && ip.IsLoopback() {
		return endpoint{kind: hostLocal, partition: "aws"}, true
	}
	if ep, ok := parsePageHost(host); ok {
		return ep, true
	}
	for _, s := range suffixes {
		if rest, ok := strings.CutSuffix(host, s.suffix); ok && rest != "" && !strings.HasPrefix(rest, ".") {
			return parseAPIHost(strings.Split(rest, "."), s.partition), true
		}
	}
	return endpoint{}, false
}

// parsePageHost reads the hosts that people's browsers use:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html
func parsePageHost(host string) (endpoint, bool) {
	switch host {
	case "health.aws.amazon.com", "phd.aws.amazon.com", "lightsail.aws.amazon.com", "quicksight.aws.amazon.com":
		return endpoint{kind: hostConsole, service: "signin", partition: "aws", region: globalRegion["aws"], global: true}, true
	}
	for _, d := range []struct{ domain, partition string }{
		{"aws.amazon.com", "aws"}, {"amazonaws.cn", "aws-cn"}, {"amazonaws-us-gov.com", "aws-us-gov"},
	} {
		for _, page := range []struct {
			name string
			kind hostKind
		}{{"signin", hostSignin}, {"console", hostConsole}} {
			rest, ok := strings.CutSuffix(host, page.name+"."+d.domain)
			if !ok {
				continue
			}
			ep := endpoint{kind: page.kind, service: "signin", partition: d.partition, region: globalRegion[d.partition]}
			rest = strings.TrimSuffix(rest, ".")
			if i := strings.LastIndexByte(rest, '.'); regionLabel.MatchString(rest[i+1:]) {
				ep.region = rest[i+1:]
			} else {
				ep.global = true
			}
			return ep, true
		}
	}
	return endpoint{}, false
}

func parseAPIHost(labels []string, partition string) endpoint {
	ep := endpoint{partition: partition}
	pop := func() string {
		l := labels[len(labels)-1]
		labels = labels[:len(labels)-1]
		return l
	}
	last := labels[len(labels)-1]
	switch {
	case regionLabel.MatchString(last) && len(labels) > 1:
		ep.region = pop()
	case last == "us-gov" && len(labels) > 1:
		pop()
		ep.region, ep.global = globalRegion["aws-us-gov"], true
		if regionLabel.MatchString(labels[len(labels)-1]) && len(labels) > 1 {
			ep.region, ep.global = pop(), false
		}
	case last == "global" && len(labels) > 1:
		pop()
		ep.global = true
	}
	if len(labels) > 1 && labels[len(labels)-1] == "dualstack" {
		pop()
	}
	service := strings.TrimSuffix(strings.TrimPrefix(labels[len(labels)-1], "fips-"), "-fips")
	// s3-us-west-2.amazonaws.com, from the time before dots.
	if r, ok := strings.CutPrefix(service, "s3-"); ok && regionLabel.MatchString(r) {
		service, ep.region = "s3", r
	}
	// BUCKET.s3express-ZONE.REGION
	if strings.HasPrefix(service, "s3express-") && service != "s3express-control" {
		ep.service, ep.bucket = "s3express", strings.Join(labels[:len(labels)-1], ".")
		return ep
	}
	switch service {
	case "s3", "s3-accelerate", "s3-accesspoint":
		ep.service = "s3"
		ep.bucket = strings.Join(labels[:len(labels)-1], ".")
		if service == "s3-accelerate" {
			ep.region = ""
		} else if ep.region == "" {
			ep.region, ep.global = globalRegion[partition], true
		}
		ep.partition = partitionOf(ep.region, partition)
		return ep
	case "s3-global": // ALIAS.mrap.accesspoint.s3-global
		ep.service, ep.region, ep.multiRegion = "s3", "", true
		ep.bucket = strings.TrimSuffix(strings.Join(labels[:len(labels)-1], "."), ".accesspoint")
		return ep
	case "s3-control", "s3express-control":
		if ep.service, ep.control = "s3", true; service == "s3express-control" {
			ep.service = "s3express"
		}
		return ep
	}
	// us-east-1.queue.amazonaws.com, search-x.us-east-1.es.amazonaws.com
	if ep.region == "" && len(labels) > 1 && regionLabel.MatchString(labels[len(labels)-2]) {
		ep.region = labels[len(labels)-2]
		labels = []string{service}
	}
	ep.service = signingName(labels)
	if ep.region == "" || fixedRegion[ep.service] {
		ep.regionToo = ep.region
		ep.region, ep.global = globalRegion[partitionOf(ep.region, partition)], true
		if ep.service == "iam" && partition == "aws-cn" {
			ep.region = "cn-north-1"
		}
	}
	ep.partition = partitionOf(ep.region, partition)
	return ep
}

// signingName finds the name a service signs with from the labels before its
// region: most sign with the label itself, signingNames lists the others.
func signingName(labels []string) string {
	clean := make([]string, 0, len(labels))
	for _, l := range labels {
		if l = strings.TrimSuffix(strings.TrimPrefix(l, "fips-"), "-fips"); l != "fips" {
			clean = append(clean, l)
		}
	}
	// The longest tail that is known wins: api.ecr before ecr, while the id in
	// front of abc123.execute-api means nothing here.
	for i := range clean {
		if n := signingNames[strings.Join(clean[i:], ".")]; n != "" {
			return n
		}
	}
	if len(clean) == 0 {
		return ""
	}
	return clean[len(clean)-1]
}
