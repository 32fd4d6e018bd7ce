package awserr

import (
	"net/http"
	"net/url"
	"strings"
)

// protocol is one of the ways in which AWS services write requests and errors
// (https://smithy.io/2.0/aws/protocols/index.html).
type protocol int

const (
	restJSON     protocol = iota
	json10                // DynamoDB
	json11                // Kinesis, Secrets Manager
	query                 // STS, IAM
	ec2Query              // EC2 alone
	rpcCBOR               // CloudWatch
	restXML               // Route 53, CloudFront
	s3XML                 // S3: <Error> is the root
	s3ControlXML          // S3 Control: as restXML, with a HostId
)

// code picks the error code of the JSON and CBOR protocols, of EC2 or of all others.
func (p protocol) code(json, ec2, others string) string {
	switch p {
	case restJSON, json10, json11, rpcCBOR:
		return json
	case ec2Query:
		return ec2
	}
	return others
}

// protocolOf recognises the protocol from the request's header and target
// alone. What it does not know is REST-JSON, the most usual among AWS's
// services; an SDK of another protocol then still has the status.
func protocolOf(r *http.Request) protocol {
	ct := strings.ToLower(r.Header.Get("Content-Type"))
	switch {
	case strings.EqualFold(r.Header.Get("Smithy-Protocol"), "rpc-v2-cbor"):
		return rpcCBOR
	case r.Header.Get("X-Amz-Target") != "":
		if strings.HasPrefix(ct, "application/x-amz-json-1.0") {
			return json10
		}
		return json11
	}
	service, signed := scopeService(r)
	host := hostname(r)
	if !signed {
		service = hostService(host)
	}
	switch service {
	case "s3", "s3express", "s3-object-lambda":
		if isS3Control(host, r.URL.Path) {
			return s3ControlXML
		}
		return s3XML
	case "s3-outposts":
		// Three APIs share this name: S3 through access points, S3 Control for
		// Outposts buckets, and S3 on Outposts' own REST-JSON.
		switch {
		case !strings.HasPrefix(host, "s3-outposts"):
			return s3XML
		case strings.HasPrefix(r.URL.Path, "/v20180820/"):
			return s3ControlXML
		}
		return restJSON
	case "route53", "cloudfront":
		return restXML
	}
	if isQuery(r, ct) {
		if service == "ec2" {
			return ec2Query
		}
		return query
	}
	return restJSON
}

// isQuery tells the query protocol: a form, or Action in the query string.
// CloudSearch's search is a form too, but at a path and of REST-JSON.
func isQuery(r *http.Request, contentType string) bool {
	if strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
		return !strings.HasPrefix(r.URL.Path, "/2013-01-01/")
	}
	return queryValue(r.URL.RawQuery, "Action") != "" && queryValue(r.URL.RawQuery, "Version") != ""
}

// scopeService is the service of the credential scope that signed the request,
// in its header or its query string: the part before the last of
// AKID/date[/region]/service/aws4_request. The signature is not looked at.
func scopeService(r *http.Request) (string, bool) {
	credential := queryValue(r.URL.RawQuery, "X-Amz-Credential")
	if auth := r.Header.Get("Authorization"); credential == "" && strings.HasPrefix(auth, "AWS4-") {
		_, rest, _ := strings.Cut(auth, "Credential=")
		credential, _, _ = strings.Cut(rest, ",")
		credential, _, _ = strings.Cut(credential, " ")
	}
	parts := strings.Split(credential, "/")
	if len(parts) < 4 {
		return "", false
	}
	return parts[len(parts)-2], true
}

// queryValue finds one parameter without parsing (and refusing) the others.
func queryValue(raw, name string) string {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		k, v, _ := strings.Cut(pair, "=")
		if k == name {
			if u, err := url.QueryUnescape(v); err == nil {
				return u
			}
		}
	}
	return ""
}

// hostname is in lower case, without the dot of an absolute name.
func hostname(r *http.Request) string {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return strings.TrimSuffix(strings.ToLower((&url.URL{Host: host}).Hostname()), ".")
}

// hostService guesses, for an unsigned request, the services whose protocol
// cannot be told from the request alone.
func hostService(host string) string {
	labels := strings.Split(host, ".")
	for i, l := range labels {
		switch {
		case l == "s3" || l == "s3-fips" || strings.HasPrefix(l, "s3express-") ||
			strings.HasPrefix(l, "s3-control") || strings.HasPrefix(l, "s3-accesspoint") || l == "s3-accelerate":
			return "s3"
		case strings.HasPrefix(l, "s3-object-lambda") || l == "s3-outposts":
			return l
		case strings.HasPrefix(l, "s3-") && i+1 < len(labels) && labels[i+1] == "amazonaws":
			return "s3" // s3-us-west-2.amazonaws.com, from before regions had labels
		case i == 0 && (l == "ec2" || l == "route53" || l == "cloudfront" || l == "ec2-fips"):
			return strings.TrimSuffix(l, "-fips")
		}
	}
	return ""
}

// isS3Control: every path of S3 Control's begins with its API version.
func isS3Control(host, path string) bool {
	return strings.Contains(host, "s3-control") && strings.HasPrefix(path, "/v20180820/")
}
