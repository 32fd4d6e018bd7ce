package awsreq

import (
	"fmt"
	"strings"

	"github.com/posternhq/postern/proxy/awsreq/internal/endpoint"
)

// ErrNotAWS: a host does not belong to an AWS API, or might not.
var ErrNotAWS = endpoint.ErrNotAWS

// S3Style is how an S3 host names its bucket.
type S3Style uint8

const (
	NotS3          S3Style = iota
	S3Path                 // s3.region: the bucket, if any, is in the path
	S3VirtualHost          // bucket.s3.region
	S3Accelerate           // bucket.s3-accelerate
	S3AccessPoint          // name-account.s3-accesspoint.region
	S3MultiRegion          // alias.accesspoint.s3-global
	S3ObjectLambda         // name-account.s3-object-lambda.region
	S3Outposts             // name-account.outpost.s3-outposts.region
	S3Express              // bucket--zone--x-s3.s3express-zone.region
	S3ExpressPath          // s3express-control.region: bucket in the path
)

// Host is a host name understood.
type Host struct {
	Name      string // lower case, without port
	Port      string // "" is 443; "8443" for Amazon Transcribe's WebSockets
	Partition string // aws, aws-cn, aws-us-gov, aws-iso…, aws-eusc
	Region    string // as named in the host, "" if it names none
	// SigningName and SigningRegion are what a signature for this host must be
	// scoped to.
	SigningName, SigningRegion string
	// Endpoint is the service's part of the name, such as "data.jobs.iot".
	Endpoint string
	// Label is what precedes the endpoint: an API's id, an account, a domain.
	Label           string
	FIPS, DualStack bool
	S3              S3Style
	Bucket          string // S3: bucket or access point, by Style
	AccountID       string // where the host names one
	Outpost         string // S3 on Outposts

	services []int32
}

// Addr is where the host is reached, as in a URL.
func (h *Host) Addr() string {
	if h.Port == "" {
		return h.Name
	}
	return h.Name + ":" + h.Port
}

// maxHost is the longest host with a port.
const maxHost = 253 + len(":8443")

// ParseHost understands the host of a request or of a CONNECT ("name" or
// "name:443"). It accepts hosts that AWS itself runs an API on and nothing else:
// names under AWS's domains that customers can point at their own machines
// (compute, load balancers, private link services) are refused, as is every
// name with a second reading. Errors wrap [ErrNotAWS].
func (t *Table) ParseHost(host string) (Host, error) {
	if len(host) > maxHost {
		return Host{}, fmt.Errorf("host of %d bytes: %w", len(host), ErrNotAWS)
	}
	name, port, hasPort := strings.Cut(host, ":")
	name = lower(name)
	p, err := endpoint.Split(name)
	if err != nil {
		return Host{}, fmt.Errorf("host %q: %w", host, err)
	}
	h := Host{Name: name, Partition: p.Partition, Region: p.Region, FIPS: p.FIPS, DualStack: p.DualStack}
	if err := t.resolve(&h, p); err != nil {
		return Host{}, fmt.Errorf("host %q: %w", host, err)
	}
	if of := endpoint.PartitionOf(h.SigningRegion); of != "" { // iam.us-gov.amazonaws.com names no region
		h.Partition = of
	}
	switch {
	case !hasPort, port == "443":
	case port == "8443" && h.Endpoint == "transcribestreaming":
		// https://docs.aws.amazon.com/transcribe/latest/dg/streaming-websocket.html
		h.Port = port
	default:
		return Host{}, fmt.Errorf("host %q: AWS's APIs are on port 443: %w", host, ErrNotAWS)
	}
	return h, nil
}

// PartitionOf is the partition that a host name under one of AWS's domains lies in, ""
// for any other name. It knows no services: ParseHost does.
func PartitionOf(name string) string {
	p, err := endpoint.Split(lower(name))
	if err != nil {
		return ""
	}
	return p.Partition
}

var errCustomer = fmt.Errorf("names a customer's machine or an unknown service: %w", ErrNotAWS)

func (t *Table) resolve(h *Host, p endpoint.Parts) error {
	if p.Right == "vpce" || strings.HasSuffix(p.Right, ".vpce") {
		return t.resolveVPCE(h, p)
	}
	if ok, err := t.resolveS3(h, p); ok || err != nil {
		return err
	}
	if p.Right != "" {
		return t.resolveRight(h, p)
	}
	if t.known(h, p, p.Left) {
		return nil
	}
	if p.Left == "queue" && h.Region == "" { // SQS of us-east-1, as version 1 of the AWS CLI calls it
		t.known(h, p, "sqs")
		return nil
	}
	if t.global(h, p) {
		return nil
	}
	// label.endpoint: only services that put an id or an account of the
	// customer's before their own name, and run the host all the same.
	for i := strings.IndexByte(p.Left, '.'); i >= 0; {
		label, key := p.Left[:i], p.Left[i+1:]
		if labelled(key) && h.Region != "" {
			if strings.Contains(label, ".") && !strings.HasSuffix(key, "-kinesis") {
				return errCustomer
			}
			h.Label = label
			return t.labelled(h, p, key)
		}
		j := strings.IndexByte(key, '.')
		if j < 0 {
			break
		}
		i += 1 + j
	}
	// A service newer than the tables: one label, in a region. No customer gets
	// such a name.
	if h.Region != "" && p.Left != "" && !strings.Contains(p.Left, ".") && p.Suffix != "on.aws" {
		h.Endpoint, h.SigningName, h.SigningRegion = p.Left, p.Left, h.Region
		return nil
	}
	return errCustomer
}

// known looks an endpoint up as it stands in AWS's own list.
func (t *Table) known(h *Host, p endpoint.Parts, key string) bool {
	e, ok := t.hosts[key]
	if !ok {
		return false
	}
	h.Endpoint, h.SigningName, h.services = key, e.signing, e.services
	h.SigningRegion = h.Region
	if h.SigningRegion == "" {
		h.SigningRegion = home(h.Partition)
	}
	region := h.Region
	if region == "" {
		if region = "-"; h.FIPS {
			region = "-fips"
		}
	}
	for _, x := range e.exceptions {
		if x.partition == p.Partition && x.suffix == p.Suffix && (x.region == "*" || x.region == region) {
			if h.SigningRegion = x.signing; x.name != "" {
				h.SigningName = x.name
			}
			break
		}
	}
	return true
}

// home is the region that a partition's global endpoints sign for.
func home(partition string) string {
	switch partition {
	case "aws-cn":
		return "cn-north-1"
	case "aws-us-gov":
		return "us-gov-west-1"
	case "aws-iso":
		return "us-iso-east-1"
	case "aws-iso-b":
		return "us-isob-east-1"
	case "aws-iso-e":
		return "eu-isoe-west-1"
	case "aws-iso-f":
		return "us-isof-south-1"
	case "aws-eusc":
		return "eusc-de-east-1"
	}
	return "us-east-1"
}

// global handles endpoints behind a customer's label that name no region, made
// for SigV4A: EventBridge and SES multi-region endpoints, CloudFront's key value
// stores.
func (t *Table) global(h *Host, p endpoint.Parts) bool {
	label, key, ok := strings.Cut(p.Left, ".")
	if !ok || p.Region != "" {
		return false
	}
	switch key {
	case "endpoint.events":
		h.SigningName, h.services = "events", t.services("events")
	case "endpoints.email", "endpoints.email.global":
		h.SigningName, h.services = "ses", t.services("sesv2")
	case "cloudfront-kvs.global":
		h.SigningName, h.services = "cloudfront-keyvaluestore", t.services("cloudfront-keyvaluestore")
		h.AccountID = digits(label)
	default:
		return false
	}
	h.Label, h.Endpoint, h.SigningRegion = label, key, "*"
	return true
}

// labelled lists the endpoints that stand behind a label of the customer's.
func labelled(key string) bool {
	switch key {
	case "execute-api", "lambda-url", "iot", "credentials.iot", "jobs.iot", "data.iot", "ddb", "appsync-api",
		"appsync-realtime-api", "kinesisvideo", "data-kinesis", "control-kinesis", "dkr.ecr", "d.codeartifact",
		"timestream", "data.mediastore", "mediaconvert", "ethereum.managedblockchain", "wss.ethereum.managedblockchain",
		"bitcoin.managedblockchain", "polygon.managedblockchain", "livy.emr-serverless-services":
		return true
	}
	return false
}

func (t *Table) labelled(h *Host, p endpoint.Parts, key string) error {
	h.Endpoint, h.SigningRegion = key, h.Region
	switch key {
	case "execute-api":
		h.SigningName, h.services = "execute-api", t.services("apigatewaymanagementapi")
	case "lambda-url":
		h.SigningName = "lambda"
	case "iot":
		// {id}-ats.iot.region serves AWS IoT's data plane.
		h.SigningName, h.services = "iotdata", t.services("iot-data")
	case "credentials.iot":
		h.SigningName = "iot"
	case "jobs.iot":
		h.SigningName, h.services = "iot-jobs-data", t.services("iot-jobs-data")
	case "ddb":
		// {account}.ddb.region: account-based endpoints of DynamoDB.
		h.SigningName, h.AccountID, h.services = "dynamodb", digits(h.Label), t.services("dynamodb")
	case "data-kinesis", "control-kinesis":
		h.SigningName, h.AccountID, h.services = "kinesis", digits(h.Label), t.services("kinesis")
	case "dkr.ecr":
		h.SigningName, h.AccountID, h.services = "ecr", digits(h.Label), t.services("ecr")
	case "appsync-api", "appsync-realtime-api":
		h.SigningName = "appsync"
	case "kinesisvideo":
		h.SigningName, h.services = "kinesisvideo", t.bySigning["kinesisvideo"]
	case "d.codeartifact":
		h.SigningName = "codeartifact"
	case "timestream":
		// {query|ingest}-cellN.timestream.region, from DescribeEndpoints.
		h.SigningName = "timestream"
		switch {
		case strings.HasPrefix(h.Label, "query"):
			h.services = t.services("timestream-query")
		case strings.HasPrefix(h.Label, "ingest"):
			h.services = t.services("timestream-write")
		}
	case "data.mediastore":
		h.SigningName, h.services = "mediastore", t.services("mediastore-data")
	case "ethereum.managedblockchain", "wss.ethereum.managedblockchain", "bitcoin.managedblockchain", "polygon.managedblockchain":
		// https://docs.aws.amazon.com/managed-blockchain/latest/ethereum-dev/json-rpc-api-examples.html
		h.SigningName = "managedblockchain"
	case "livy.emr-serverless-services":
		// https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/interactive-workloads-livy-endpoints.html
		h.SigningName = "emr-serverless"
	default:
		if !t.known(h, p, key) {
			h.SigningName, _, _ = strings.Cut(key, ".")
		}
	}
	return nil
}

// resolveRight handles names with the service after the region.
func (t *Table) resolveRight(h *Host, p endpoint.Parts) error {
	if t.known(h, p, p.Left+"|"+p.Right) {
		return nil
	}
	if p.Left == "" {
		if p.Right == "queue" { // SQS before 2013: region.queue.amazonaws.com
			t.known(h, p, "sqs")
			return nil
		}
		if t.known(h, p, p.Right) {
			return nil
		}
		return errCustomer
	}
	h.Label, h.Endpoint, h.SigningRegion = p.Left, p.Right, h.Region
	if strings.Contains(p.Left, ".") && p.Right != "neptune" {
		return errCustomer
	}
	switch p.Right {
	case "es":
		h.SigningName = "es"
	case "aoss":
		h.SigningName = "aoss"
	case "cloudsearch":
		h.SigningName, h.services = "cloudsearch", t.services("cloudsearchdomain")
	case "neptune-graph":
		h.SigningName, h.services = "neptune-graph", t.services("neptune-graph")
	case "neptune":
		h.SigningName, h.services = "neptune-db", t.services("neptunedata")
	case "osis":
		h.Label, h.SigningName = p.Raw, "osis" // a pipeline may be called fips-data
	default:
		return errCustomer
	}
	return nil
}

// resolveVPCE handles interface endpoints: vpce-id.service.region.vpce. Those of
// private link services (vpce-svc-…) belong to customers.
func (t *Table) resolveVPCE(h *Host, p endpoint.Parts) error {
	i := strings.LastIndex("."+p.Raw, ".vpce-")
	if i < 0 || strings.Contains(p.Raw, "vpce-svc-") || p.Right != "vpce" {
		return errCustomer
	}
	before, rest := strings.TrimSuffix(p.Raw[:i], "."), p.Raw[i:]
	_, service, ok := strings.Cut(rest, ".")
	if !ok {
		return errCustomer
	}
	switch service {
	case "s3":
		return t.s3VPCE(h, before)
	case "execute-api":
		h.Label = rest[:len(rest)-len(service)-1] // which API it is, a header says
		return t.labelled(h, p, service)
	}
	h.Label = before
	if before == "" && t.known(h, p, service) {
		return nil
	}
	return errCustomer
}

func digits(s string) string {
	if len(s) != 12 {
		return ""
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return ""
		}
	}
	return s
}

// lower folds ASCII only: strings.ToLower would make a k of the Kelvin sign.
func lower(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
