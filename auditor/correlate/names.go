package correlate

import (
	"slices"
	"strings"
)

// eventNames maps API operations to the names that CloudTrail gives them where
// these differ (https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html).
// Names on both sides go through it, so services that log the operation's own
// name after all are right too.
var eventNames = map[string]string{
	"s3:ListObjectsV2":                               "ListObjects",
	"s3:GetPublicAccessBlock":                        "GetBucketPublicAccessBlock",
	"s3:PutPublicAccessBlock":                        "PutBucketPublicAccessBlock",
	"s3:DeletePublicAccessBlock":                     "DeleteBucketPublicAccessBlock",
	"s3:GetBucketLifecycleConfiguration":             "GetBucketLifecycle",
	"s3:PutBucketLifecycleConfiguration":             "PutBucketLifecycle",
	"s3:GetBucketNotificationConfiguration":          "GetBucketNotification",
	"s3:PutBucketNotificationConfiguration":          "PutBucketNotification",
	"s3:GetBucketAccelerateConfiguration":            "GetAccelerateConfiguration",
	"s3:PutBucketAccelerateConfiguration":            "PutAccelerateConfiguration",
	"s3:GetBucketAnalyticsConfiguration":             "GetAnalyticsConfiguration",
	"s3:PutBucketAnalyticsConfiguration":             "PutAnalyticsConfiguration",
	"s3:DeleteBucketAnalyticsConfiguration":          "DeleteAnalyticsConfiguration",
	"s3:ListBucketAnalyticsConfigurations":           "ListAnalyticsConfigurations",
	"s3:GetBucketInventoryConfiguration":             "GetInventoryConfiguration",
	"s3:PutBucketInventoryConfiguration":             "PutInventoryConfiguration",
	"s3:DeleteBucketInventoryConfiguration":          "DeleteInventoryConfiguration",
	"s3:ListBucketInventoryConfigurations":           "ListInventoryConfigurations",
	"s3:GetBucketMetricsConfiguration":               "GetMetricsConfiguration",
	"s3:PutBucketMetricsConfiguration":               "PutMetricsConfiguration",
	"s3:DeleteBucketMetricsConfiguration":            "DeleteMetricsConfiguration",
	"s3:ListBucketMetricsConfigurations":             "ListMetricsConfigurations",
	"s3:GetBucketIntelligentTieringConfiguration":    "GetIntelligentTieringConfiguration",
	"s3:PutBucketIntelligentTieringConfiguration":    "PutIntelligentTieringConfiguration",
	"s3:DeleteBucketIntelligentTieringConfiguration": "DeleteIntelligentTieringConfiguration",
	"s3:ListBucketIntelligentTieringConfigurations":  "ListIntelligentTieringConfigurations",
	"s3:GetObjectLockConfiguration":                  "GetBucketObjectLockConfiguration",
	"s3:PutObjectLockConfiguration":                  "PutBucketObjectLockConfiguration",
	"s3:InitiateMultipartUpload":                     "CreateMultipartUpload",
	"s3:ListVersions":                                "ListObjectVersions",
}

// accountNames are of operations of S3 Control, which its event source, that of S3, does
// not tell from those of S3 with the same names.
var accountNames = map[string]string{
	"GetPublicAccessBlock":    "GetAccountPublicAccessBlock",
	"PutPublicAccessBlock":    "PutAccountPublicAccessBlock",
	"DeletePublicAccessBlock": "DeleteAccountPublicAccessBlock",
}

// named is an operation of a service by a name that no other operation of the event source has.
func named(service, operation string) string {
	if service == "s3control" {
		if n, ok := accountNames[operation]; ok {
			return n
		}
	}
	return operation
}

// eventSources maps services and endpoint prefixes to the first label of CloudTrail's event
// source where neither these nor the signing name is it
// (https://docs.aws.amazon.com/eventbridge/latest/ref/events.html and the services' own pages).
var eventSources = map[string]string{
	"email":                   "ses",
	"streams.dynamodb":        "dynamodb",
	"api.ecr":                 "ecr",
	"api.ecr-public":          "ecr-public",
	"runtime.sagemaker":       "sagemaker",
	"api.sagemaker":           "sagemaker",
	"bedrock-runtime":         "bedrock",
	"bedrock-agent":           "bedrock",
	"bedrock-agent-runtime":   "bedrock",
	"s3express":               "s3",
	"s3-control":              "s3",
	"s3-object-lambda":        "s3",
	"mturk-requester":         "mturk",
	"entitlement.marketplace": "aws-marketplace",
	"metering.marketplace":    "aws-marketplace",

	"application-autoscaling":  "autoscaling",
	"autoscaling-plans":        "autoscaling",
	"cloudfront-keyvaluestore": "edgekeyvaluestore",
	"connectparticipant":       "participant-connect",
	"iotsecuretunneling":       "iotsecuredtunneling",
	"marketplace-catalog":      "marketplacecatalog",
	"meteringmarketplace":      "metering-marketplace",
	"pricing":                  "pricelist",
	"rds-data":                 "rdsdata",
}

// SameService says whether a request to service, signed for signingName, is
// what CloudTrail calls eventSource ("s3.amazonaws.com").
func SameService(service, signingName, eventSource string) bool {
	label, _, _ := strings.Cut(eventSource, ".")
	if label == "" {
		return false
	}
	return label == service || label == signingName || label == eventSources[service] || label == eventSources[signingName]
}

// SameName says whether an API operation of a service is what CloudTrail calls eventName
// of the service in eventSource.
func SameName(service, operation, eventSource, eventName string) bool {
	label, _, _ := strings.Cut(eventSource, ".")
	return operation == eventName || canonical(label, named(service, operation)) == canonical(label, eventName)
}

// EventSources are the first labels of the event sources that CloudTrail may give
// calls of a service; SameService knows each but those of the endpoint, which it is not
// told.
func EventSources(service, signingName, endpoint string) []string {
	var out []string
	for _, label := range []string{service, signingName, endpoint, eventSources[service], eventSources[signingName], eventSources[endpoint]} {
		if label != "" && !slices.Contains(out, label) {
			out = append(out, label)
		}
	}
	return out
}

// EventNames are the names that CloudTrail may give an operation of a service, of an event
// source's first label, but for API versions at their end; SameName knows each.
func EventNames(service, label, operation string) []string {
	of := label
	if of == "s3express" {
		of = "s3"
	}
	name := canonical(label, named(service, operation))
	out := []string{operation}
	if name != operation {
		out = append(out, name)
	}
	for from, to := range eventNames {
		if other, ok := strings.CutPrefix(from, of+":"); ok && to == name && other != operation {
			out = append(out, other)
		}
	}
	slices.Sort(out[1:])
	return out
}

// Versioned are the first labels of those event sources whose event names end in the
// API's version, and VersionPattern is that end, as a regular expression (RE2).
var Versioned = []string{"cloudfront", "lambda"}

// VersionPattern: see Versioned.
const VersionPattern = `(?:[0-9]{8}(?:v[0-9]+)?|[0-9]{4}_[0-9]{2}_[0-9]{2})`

func canonical(service, name string) string {
	name = unversioned(name)
	if service == "s3express" {
		service = "s3"
	}
	if n, ok := eventNames[service+":"+name]; ok {
		return n
	}
	return name
}

// unversioned cuts the API version that some services append: Lambda
// "ListFunctions20150331", "GetFunction20150331v2", CloudFront
// "CreateDistribution2020_05_31".
func unversioned(name string) string {
	s := name
	if i := strings.LastIndexByte(s, 'v'); i > 0 && i < len(s)-1 && digits(s[i+1:]) {
		s = s[:i]
	}
	if n := len(s); n > 8 && digits(s[n-8:]) && !digits(s[n-9:n-8]) {
		return s[:n-8]
	}
	if n := len(name); n > 10 && digits(name[n-2:]) && name[n-3] == '_' && digits(name[n-5:n-3]) && name[n-6] == '_' && digits(name[n-10:n-6]) {
		return name[:n-10]
	}
	return name
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
