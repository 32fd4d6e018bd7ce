package awsreq

import (
	"net/http"
	"strings"
)

// s3sub maps a sub-resource in the query to an operation by method. An empty
// name: no operation with that method.
type s3sub struct {
	key                    string
	object                 bool // of an object; else of a bucket
	get, put, post, delete string
}

// s3subs: Amazon S3 API Reference. Where a key names one thing or a list of them
// ("analytics"), the list is told by the absence of id.
var s3subs = [...]s3sub{
	{"uploads", true, "", "", "CreateMultipartUpload", ""},
	{"uploadId", true, "ListParts", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload"},
	{"acl", true, "GetObjectAcl", "PutObjectAcl", "", ""},
	{"annotation", true, "ListObjectAnnotations", "PutObjectAnnotation", "", "DeleteObjectAnnotation"},
	{"attributes", true, "GetObjectAttributes", "", "", ""},
	{"legal-hold", true, "GetObjectLegalHold", "PutObjectLegalHold", "", ""},
	{"retention", true, "GetObjectRetention", "PutObjectRetention", "", ""},
	{"tagging", true, "GetObjectTagging", "PutObjectTagging", "", "DeleteObjectTagging"},
	{"torrent", true, "GetObjectTorrent", "", "", ""},
	{"renameObject", true, "", "RenameObject", "", ""},
	{"encryption", true, "", "UpdateObjectEncryption", "", ""},
	{"restore", true, "", "", "RestoreObject", ""},
	{"select", true, "", "", "SelectObjectContent", ""},

	{"abac", false, "GetBucketAbac", "PutBucketAbac", "", ""},
	{"accelerate", false, "GetBucketAccelerateConfiguration", "PutBucketAccelerateConfiguration", "", ""},
	{"acl", false, "GetBucketAcl", "PutBucketAcl", "", ""},
	{"analytics", false, "GetBucketAnalyticsConfiguration", "PutBucketAnalyticsConfiguration", "", "DeleteBucketAnalyticsConfiguration"},
	{"cors", false, "GetBucketCors", "PutBucketCors", "", "DeleteBucketCors"},
	{"delete", false, "", "", "DeleteObjects", ""},
	{"encryption", false, "GetBucketEncryption", "PutBucketEncryption", "", "DeleteBucketEncryption"},
	{"intelligent-tiering", false, "GetBucketIntelligentTieringConfiguration", "PutBucketIntelligentTieringConfiguration", "", "DeleteBucketIntelligentTieringConfiguration"},
	{"inventory", false, "GetBucketInventoryConfiguration", "PutBucketInventoryConfiguration", "", "DeleteBucketInventoryConfiguration"},
	{"lifecycle", false, "GetBucketLifecycleConfiguration", "PutBucketLifecycleConfiguration", "", "DeleteBucketLifecycle"},
	{"location", false, "GetBucketLocation", "", "", ""},
	{"logging", false, "GetBucketLogging", "PutBucketLogging", "", ""},
	{"metadataAnnotationTable", false, "", "UpdateBucketMetadataAnnotationTableConfiguration", "", ""},
	{"metadataConfiguration", false, "GetBucketMetadataConfiguration", "", "CreateBucketMetadataConfiguration", "DeleteBucketMetadataConfiguration"},
	{"metadataInventoryTable", false, "", "UpdateBucketMetadataInventoryTableConfiguration", "", ""},
	{"metadataJournalTable", false, "", "UpdateBucketMetadataJournalTableConfiguration", "", ""},
	{"metadataTable", false, "GetBucketMetadataTableConfiguration", "", "CreateBucketMetadataTableConfiguration", "DeleteBucketMetadataTableConfiguration"},
	{"metrics", false, "GetBucketMetricsConfiguration", "PutBucketMetricsConfiguration", "", "DeleteBucketMetricsConfiguration"},
	{"notification", false, "GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration", "", ""},
	{"object-lock", false, "GetObjectLockConfiguration", "PutObjectLockConfiguration", "", ""},
	{"ownershipControls", false, "GetBucketOwnershipControls", "PutBucketOwnershipControls", "", "DeleteBucketOwnershipControls"},
	{"policy", false, "GetBucketPolicy", "PutBucketPolicy", "", "DeleteBucketPolicy"},
	{"policyStatus", false, "GetBucketPolicyStatus", "", "", ""},
	{"publicAccessBlock", false, "GetPublicAccessBlock", "PutPublicAccessBlock", "", "DeletePublicAccessBlock"},
	{"replication", false, "GetBucketReplication", "PutBucketReplication", "", "DeleteBucketReplication"},
	{"requestPayment", false, "GetBucketRequestPayment", "PutBucketRequestPayment", "", ""},
	{"session", false, "CreateSession", "", "", ""},
	{"tagging", false, "GetBucketTagging", "PutBucketTagging", "", "DeleteBucketTagging"},
	{"uploads", false, "ListMultipartUploads", "", "", ""},
	{"versioning", false, "GetBucketVersioning", "PutBucketVersioning", "", ""},
	{"versions", false, "ListObjectVersions", "", "", ""},
	{"website", false, "GetBucketWebsite", "PutBucketWebsite", "", "DeleteBucketWebsite"},
}

// s3Target splits a request into bucket (or access point) and encoded key.
func (in *Input) s3Target() (bucket, key string) {
	path := strings.TrimPrefix(in.Path, "/")
	switch in.Host.S3 {
	case S3Path, S3ExpressPath:
		bucket, key, _ = strings.Cut(path, "/")
		return bucket, key
	}
	return in.Host.Bucket, path
}

// aliasOf tells what a name in a bucket's place is the alias of: no bucket may be called so
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
func aliasOf(bucket string) S3Style {
	switch {
	case strings.HasSuffix(bucket, "-s3alias"):
		return S3AccessPoint
	case strings.HasSuffix(bucket, "--ol-s3"):
		return S3ObjectLambda
	case strings.HasSuffix(bucket, "--op-s3"):
		return S3Outposts
	}
	return NotS3
}

// s3Style is how a request names what it is about: where the host is S3's own, an alias in
// the bucket's place counts.
func (in *Input) s3Style(bucket string) S3Style {
	switch in.Host.S3 {
	case S3Path, S3VirtualHost, S3Accelerate:
		if style := aliasOf(bucket); style != NotS3 {
			return style
		}
	}
	return in.Host.S3
}

func (t *Table) lookupS3(in *Input, r *Request) {
	r.Service = "s3"
	bucket, key := in.s3Target()
	name, ambiguous := s3Operation(in, bucket, key)
	// Where the bucket's name ends, if an encoded slash follows it, is for who
	// decodes first to say: DELETE /b%2Fk may be of a bucket or of an object.
	if in.Host.S3 == S3Path || in.Host.S3 == S3ExpressPath {
		if strings.Contains(bucket, "%2F") || strings.Contains(bucket, "%2f") {
			ambiguous = true
			r.doubtful("does not say where the bucket's name ends")
		}
	}
	if ambiguous {
		r.doubtful(twoOperations)
	}
	if name == "" || ambiguous {
		return
	}
	svc := t.byName["s3"]
	if len(svc) == 0 {
		return
	}
	t.fill(r, t.operation(svc[0], name))
	t.s3Action(in, r)
}

func s3Operation(in *Input, bucket, key string) (name string, ambiguous bool) {
	if in.Host.S3 == S3ObjectLambda && in.Method == http.MethodPost && in.Path == "/WriteGetObjectResponse" {
		return "WriteGetObjectResponse", false
	}
	if bucket == "" {
		if in.Method != http.MethodGet || key != "" {
			return "", false
		}
		if in.Host.S3 == S3ExpressPath {
			return "ListDirectoryBuckets", false
		}
		return "ListBuckets", false
	}
	q := in.RawQuery
	if q != "" {
		var sub string
		for i := range s3subs {
			s := &s3subs[i]
			if s.object != (key != "") || !hasQuery(q, s.key) {
				continue
			}
			var op string
			switch in.Method {
			case http.MethodGet:
				op = s.get
			case http.MethodPut:
				op = s.put
			case http.MethodPost:
				op = s.post
			case http.MethodDelete:
				op = s.delete
			}
			if op == "" {
				continue
			}
			if sub != "" {
				// Two sub-resources, two operations: S3 picks one by rules that
				// it does not publish.
				return "", true
			}
			sub = op
		}
		if sub != "" {
			return refineS3(sub, in), false
		}
		if newer(q) {
			return "", false
		}
	}
	if key != "" {
		return objectOperation(in), false
	}
	switch in.Method {
	case http.MethodGet:
		if v, ok := queryValue(q, "list-type"); ok && equalDecoded(v, "2") {
			return "ListObjectsV2", false
		}
		return "ListObjects", false
	case http.MethodHead:
		return "HeadBucket", false
	case http.MethodPut:
		return "CreateBucket", false
	case http.MethodDelete:
		return "DeleteBucket", false
	}
	return "", false
}

// s3params are the parameters of S3's operations that may be empty.
var s3params = [...]string{"prefix", "delimiter", "marker", "max-keys", "encoding-type", "list-type", "continuation-token", "start-after", "fetch-owner",
	"key-marker", "version-id-marker", "upload-id-marker", "part-number-marker", "versionId", "bucket-region", "id"}

// newer tells whether a query has what may be a sub-resource of S3's that is not known
// here, and so another operation: a name without a value. Those that begin with "x-" mean
// nothing to S3
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html#LogFormatCustom).
func newer(query string) bool {
pairs:
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if name == "" || value != "" || len(name) > 2 && strings.EqualFold(name[:2], "x-") || strings.HasPrefix(name, "response-") {
			continue
		}
		for i := range s3subs {
			if equalDecoded(name, s3subs[i].key) {
				continue pairs
			}
		}
		for _, known := range s3params {
			if equalDecoded(name, known) {
				continue pairs
			}
		}
		return true
	}
	return false
}

// refineS3 tells lists from single configurations and copies from uploads.
func refineS3(op string, in *Input) string {
	id := hasQuery(in.RawQuery, "id")
	switch op {
	case "GetBucketAnalyticsConfiguration":
		if !id {
			return "ListBucketAnalyticsConfigurations"
		}
	case "GetBucketIntelligentTieringConfiguration":
		if !id {
			return "ListBucketIntelligentTieringConfigurations"
		}
	case "GetBucketInventoryConfiguration":
		if !id {
			return "ListBucketInventoryConfigurations"
		}
	case "GetBucketMetricsConfiguration":
		if !id {
			return "ListBucketMetricsConfigurations"
		}
	case "ListObjectAnnotations":
		if hasQuery(in.RawQuery, "annotationName") {
			return "GetObjectAnnotation"
		}
	case "UploadPart":
		if len(in.Header["X-Amz-Copy-Source"]) > 0 {
			return "UploadPartCopy"
		}
	}
	return op
}

func objectOperation(in *Input) string {
	switch in.Method {
	case http.MethodGet:
		return "GetObject"
	case http.MethodHead:
		return "HeadObject"
	case http.MethodDelete:
		return "DeleteObject"
	case http.MethodPut:
		if len(in.Header["X-Amz-Copy-Source"]) > 0 {
			return "CopyObject"
		}
		return "PutObject"
	}
	return ""
}
