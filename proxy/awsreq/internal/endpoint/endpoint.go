// Package endpoint takes AWS host names apart by their form alone: suffix,
// partition, region, variant, and what is left. Which services exist is none of
// its business; awsreq's tables and their generator both build on it.
package endpoint

import (
	"errors"
	"strings"
)

// Parts is a host name taken apart. "data-fips.iot.us-east-1.amazonaws.com" has
// Left "data.iot", Region "us-east-1", Suffix "amazonaws.com" and FIPS.
type Parts struct {
	Suffix    string
	Partition string
	// Region is the region label nearest to the suffix, "" if there is none. Of
	// the pseudo regions that AWS's endpoint rules make up, "aws-global" and its
	// like count as regions.
	Region string
	// Left holds the labels before the region (all of them without a region),
	// without the marks of FIPS and dual stack.
	Left string
	// Raw is Left as it was: a bucket may be called "fips-data".
	Raw string
	// Right holds labels between region and suffix, as in
	// "us-east-1.signin.aws.amazon.com".
	Right           string
	FIPS, DualStack bool
}

// ErrNotAWS: the name does not lie under a domain that AWS gives to its APIs, or
// could be read as one in more than one way.
var ErrNotAWS = errors.New("not a host of an AWS API")

type suffix struct {
	name, partition string
	dualStack       bool
}

// suffixes are the domains of AWS's APIs, each with a leading dot. Those of aws
// serve aws-us-gov as well. Sources: partitions.json of AWS's endpoint rules
// (botocore, Apache-2.0); AWS General Reference, "Service endpoints".
var suffixes = [...]suffix{
	{".amazonaws.com", "aws", false},
	{".api.aws", "aws", true},
	{".on.aws", "aws", true},
	{".signin.aws.amazon.com", "aws", false},
	{".amazonaws.com.cn", "aws-cn", false},
	{".api.amazonwebservices.com.cn", "aws-cn", true},
	{".on.amazonwebservices.com.cn", "aws-cn", true},
	{".signin.amazonaws.cn", "aws-cn", false},
	{".signin.amazonaws-us-gov.com", "aws-us-gov", false},
	{".c2s.ic.gov", "aws-iso", false},
	{".api.aws.ic.gov", "aws-iso", true},
	{".sc2s.sgov.gov", "aws-iso-b", false},
	{".api.aws.scloud", "aws-iso-b", true},
	{".cloud.adc-e.uk", "aws-iso-e", false},
	{".api.cloud-aws.adc-e.uk", "aws-iso-e", true},
	{".csp.hci.ic.gov", "aws-iso-f", false},
	{".api.aws.hci.ic.gov", "aws-iso-f", true},
	{".amazonaws.eu", "aws-eusc", false},
	{".api.amazonwebservices.eu", "aws-eusc", true},
	{".on.amazonwebservices.eu", "aws-eusc", true},
}

// Split takes a host name apart. It wants the bare name in lower case: no port,
// no trailing dot, ASCII letters, digits, hyphens and underscores only, so that
// nothing downstream can read another host out of it.
func Split(host string) (Parts, error) {
	if !wellFormed(host) {
		return Parts{}, ErrNotAWS
	}
	var p Parts
	rest := ""
	for i := range suffixes {
		s := &suffixes[i]
		if len(host) > len(s.name) && strings.HasSuffix(host, s.name) && len(s.name) > len(p.Suffix)+1 {
			p.Suffix, p.Partition, p.DualStack = s.name[1:], s.partition, s.dualStack
			rest = host[:len(host)-len(s.name)]
		}
	}
	if p.Suffix == "" {
		return Parts{}, ErrNotAWS
	}
	if strings.HasPrefix(p.Suffix, "signin.") {
		rest, p.Suffix = rest+".signin", p.Suffix[len("signin."):]
	}
	left, region, right := cutRegion(rest)
	p.Region, p.Right = region, right
	if part := PartitionOf(region); part != "" {
		p.Partition = part
	}
	p.Raw, p.Left = left, p.strip(left)
	return p, nil
}

func wellFormed(host string) bool {
	if len(host) == 0 || len(host) > 253 {
		return false
	}
	label := 0
	for i := range len(host) {
		switch c := host[i]; {
		case c == '.':
			if label == 0 || host[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c == '-' && label == 0:
			return false
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && host[len(host)-1] != '-'
}

// cutRegion finds the region label nearest to the end.
func cutRegion(s string) (left, region, right string) {
	for end := len(s); end > 0; {
		start := strings.LastIndexByte(s[:end], '.') + 1
		if PartitionOf(s[start:end]) != "" {
			if start > 0 {
				left = s[:start-1]
			}
			if end < len(s) {
				right = s[end+1:]
			}
			return left, s[start:end], right
		}
		end = start - 1
	}
	return s, "", ""
}

// strip removes the marks of variants from the labels and notes them.
func (p *Parts) strip(left string) string {
	if s, ok := strings.CutSuffix(left, ".dualstack"); ok {
		left, p.DualStack = s, true
	}
	if !strings.Contains(left, "fips") && !strings.Contains(left, "dualstack") {
		return left
	}
	if s, ok := strings.CutSuffix(left, "-fips"); ok && !strings.Contains(s, "fips") && !strings.Contains(s, "dualstack") {
		p.FIPS = true
		return s
	}
	var b strings.Builder
	for l := range strings.SplitSeq(left, ".") {
		switch {
		case l == "fips":
			p.FIPS = true
			continue
		case l == "dualstack":
			p.DualStack = true
			continue
		case strings.HasSuffix(l, "-fips"):
			l, p.FIPS = l[:len(l)-len("-fips")], true
		case strings.HasPrefix(l, "fips-"):
			l, p.FIPS = l[len("fips-"):], true
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(l)
	}
	return b.String()
}

// PartitionOf gives the partition of a region by the form of its name, "" if it
// is none. New regions follow the old forms (partitions.json, regionRegex), which
// is why this is no list.
func PartitionOf(region string) string {
	switch region {
	case "aws-global":
		return "aws"
	case "aws-cn-global":
		return "aws-cn"
	case "aws-us-gov-global":
		return "aws-us-gov"
	case "aws-iso-global":
		return "aws-iso"
	case "aws-iso-b-global":
		return "aws-iso-b"
	case "aws-iso-e-global":
		return "aws-iso-e"
	case "aws-iso-f-global":
		return "aws-iso-f"
	}
	area, rest, ok := strings.Cut(region, "-")
	if !ok {
		return ""
	}
	partition := ""
	switch area {
	case "us":
		partition = "aws"
		for _, iso := range [...][2]string{
			{"gov-", "aws-us-gov"}, {"iso-", "aws-iso"}, {"isob-", "aws-iso-b"}, {"isof-", "aws-iso-f"},
		} {
			if r, ok := strings.CutPrefix(rest, iso[0]); ok {
				rest, partition = r, iso[1]
				break
			}
		}
	case "eu":
		partition = "aws"
		if r, ok := strings.CutPrefix(rest, "isoe-"); ok {
			rest, partition = r, "aws-iso-e"
		}
	case "ap", "sa", "ca", "me", "af", "il", "mx":
		partition = "aws"
	case "cn":
		partition = "aws-cn"
	case "eusc":
		// eusc-de-east-1
		if len(rest) < 3 || rest[2] != '-' {
			return ""
		}
		rest, partition = rest[3:], "aws-eusc"
	default:
		return ""
	}
	compass, number, ok := strings.Cut(rest, "-")
	if !ok || compass == "" || number == "" || len(number) > 2 {
		return ""
	}
	for i := range len(compass) {
		if compass[i] < 'a' || compass[i] > 'z' {
			return ""
		}
	}
	for i := range len(number) {
		if number[i] < '0' || number[i] > '9' {
			return ""
		}
	}
	switch compass {
	case "north", "south", "east", "west", "central", "northeast", "northwest", "southeast", "southwest":
		return partition
	}
	return ""
}

// PartitionOfSuffix gives the partition that a domain serves by default.
func PartitionOfSuffix(name string) string {
	for i := range suffixes {
		if suffixes[i].name[1:] == name {
			return suffixes[i].partition
		}
	}
	return ""
}
