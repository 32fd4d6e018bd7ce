package awsreq

import (
	"fmt"
	"slices"
	"strings"

	"github.com/posternhq/postern/proxy/awsreq/internal/endpoint"
)

// resolveS3 understands S3's hosts in all addressing styles. It works on the
// labels as they are, for a bucket may hold dots and be called anything.
func (t *Table) resolveS3(h *Host, p endpoint.Parts) (bool, error) {
	all := p.Raw
	if p.Right != "" {
		// A region-like label inside of a bucket, in front of a global endpoint.
		if all != "" {
			all += "."
		}
		all += p.Region + "." + p.Right
	}
	rest, last := cutLast(all)
	if last == "dualstack" && p.Right == "" {
		h.DualStack = true
		rest, last = cutLast(rest)
	}
	service, region, style := s3Label(last)
	if style == NotS3 {
		return false, nil
	}
	global := p.Right != "" || p.Region == ""
	if p.Right != "" {
		h.Region = ""
		if h.Partition = endpoint.PartitionOfSuffix(p.Suffix); h.Partition == "" {
			return true, errCustomer
		}
	}
	if region != "" { // s3-us-west-2
		if !global {
			return true, errCustomer
		}
		h.Region, global = region, false
		h.Partition = endpoint.PartitionOf(region)
	}
	h.Endpoint, h.SigningName, h.S3 = last, service, style
	h.FIPS = strings.HasSuffix(last, "-fips") || strings.HasPrefix(last, "s3express-fips-") || strings.HasPrefix(last, "s3-fips-")
	h.Endpoint = strings.TrimSuffix(last, "-fips")
	h.SigningRegion = h.Region
	switch h.services = t.services("s3"); style {
	case S3Path:
		if h.Bucket = rest; rest != "" {
			h.S3 = S3VirtualHost
		}
		if global || h.Region == "aws-global" {
			h.SigningRegion = home(h.Partition)
		}
		return true, nil
	case S3Accelerate:
		h.Bucket = rest
		if !global || rest == "" || strings.Contains(rest, ".") {
			return true, errCustomer
		}
		// A signature for an accelerated bucket names the bucket's region, which
		// the host does not tell.
		h.SigningRegion = ""
		return true, nil
	case S3MultiRegion:
		// alias.mrap.accesspoint.s3-global
		label, ok := strings.CutSuffix(rest, ".accesspoint")
		if !ok || !global || label == "" {
			return true, errCustomer
		}
		h.Bucket, h.SigningRegion = label, "*"
		return true, nil
	}
	if global {
		return true, errCustomer
	}
	switch style {
	case S3Express:
		if h.Bucket = rest; rest == "" || strings.Contains(rest, ".") {
			return true, errCustomer
		}
	case S3ExpressPath:
		if h.Bucket = rest; rest != "" {
			return true, errCustomer
		}
	case S3AccessPoint, S3ObjectLambda:
		if rest == "" && style == S3ObjectLambda {
			return true, nil
		}
		// WriteGetObjectResponse goes to route.s3-object-lambda.
		if err := h.accessPoint(rest); err != nil && style == S3AccessPoint {
			return true, err
		}
		if strings.Contains(rest, ".") {
			return true, errCustomer
		}
	case S3Outposts:
		// name-account.outpost.s3-outposts, or s3-outposts itself for control.
		if rest == "" {
			// The buckets and access points of an Outpost are S3 Control's.
			t.known(h, p, "s3-outposts")
			h.S3, h.services = NotS3, slices.Concat(h.services, t.services("s3control"))
			return true, nil
		}
		point, outpost := cutLast(rest)
		if h.Outpost = outpost; point == "" && digits(outpost) != "" {
			h.AccountID, h.Outpost, h.S3, h.services = outpost, "", NotS3, t.services("s3control")
			return true, nil
		}
		if aliasOf(point) == S3Outposts {
			h.Bucket = point
		} else if err := h.accessPoint(point); err != nil {
			return true, err
		}
	case s3ControlStyle:
		h.S3, h.services = NotS3, t.services("s3control")
		if rest != "" {
			if h.AccountID = digits(rest); h.AccountID == "" {
				return true, errCustomer
			}
		}
	}
	return true, nil
}

// s3ControlStyle marks s3-control, whose operations are another service's.
const s3ControlStyle S3Style = 100

func s3Label(l string) (service, region string, style S3Style) {
	switch l {
	case "s3", "s3-fips", "s3-external-1", "s3-external-2":
		return "s3", "", S3Path
	case "s3-accelerate":
		return "s3", "", S3Accelerate
	case "s3-accesspoint", "s3-accesspoint-fips":
		return "s3", "", S3AccessPoint
	case "s3-global":
		return "s3", "", S3MultiRegion
	case "s3-object-lambda", "s3-object-lambda-fips":
		return "s3-object-lambda", "", S3ObjectLambda
	case "s3-outposts", "s3-outposts-fips":
		return "s3-outposts", "", S3Outposts
	case "s3express-control", "s3express-control-fips":
		return "s3express", "", S3ExpressPath
	case "s3-control", "s3-control-fips":
		return "s3", "", s3ControlStyle
	}
	if strings.HasPrefix(l, "s3express-") {
		return "s3express", "", S3Express
	}
	if r, ok := strings.CutPrefix(l, "s3-fips-"); ok && endpoint.PartitionOf(r) != "" {
		return "s3", r, S3Path
	}
	if r, ok := strings.CutPrefix(l, "s3-"); ok && endpoint.PartitionOf(r) != "" {
		return "s3", r, S3Path
	}
	return "", "", NotS3
}

// s3VPCE handles S3's interface endpoints: bucket.vpce-id.s3 (path style),
// bucket-name.bucket.vpce-id.s3, accesspoint.vpce-id.s3, control.vpce-id.s3.
func (t *Table) s3VPCE(h *Host, before string) error {
	h.Endpoint, h.SigningName, h.SigningRegion, h.services = "s3", "s3", h.Region, t.services("s3")
	rest, kind := cutLast(before)
	switch kind {
	case "bucket":
		if h.S3, h.Bucket = S3Path, rest; rest != "" {
			h.S3 = S3VirtualHost
		}
	case "accesspoint":
		h.S3 = S3AccessPoint
		return h.accessPoint(rest)
	case "control":
		h.services = t.services("s3control")
		h.AccountID = digits(rest)
	default:
		return errCustomer
	}
	return nil
}

// accessPoint splits name-account.
func (h *Host) accessPoint(s string) error {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || digits(s[i+1:]) == "" || strings.Contains(s, ".") {
		return fmt.Errorf("access point %q is not NAME-ACCOUNT: %w", s, ErrNotAWS)
	}
	h.Bucket, h.AccountID = s[:i], s[i+1:]
	return nil
}

func cutLast(s string) (before, last string) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}
