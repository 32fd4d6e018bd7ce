package simaws

import (
	"net/http"
	"strings"
)

// s3Call is a call on S3, with its target.
type s3Call struct {
	*call
	bucketName, key string
	bucket          *bucket
	store           *objectStore
	created         func(*bucket, *object)
	iam             *directory
}

// s3Op is one operation: its name in CloudTrail, the IAM action it needs and
// what it does. bodyless operations have their (small) body read and verified
// before they run.
type s3Op struct {
	event, action string
	data          bool
	streams       bool // reads the body itself
	do            func(*s3Call) error
}

// bucketSubs and objectSubs are the query parameters that make another
// operation out of a method.
var (
	bucketSubs = []string{"acl", "policy", "policyStatus", "versioning", "tagging", "cors", "website", "logging", "lifecycle",
		"replication", "encryption", "object-lock", "accelerate", "requestPayment", "ownershipControls", "publicAccessBlock",
		"notification", "location", "uploads", "versions", "delete", "analytics", "inventory", "metrics", "intelligent-tiering",
		"session", "abac", "metadataAnnotationTable", "metadataConfiguration", "metadataInventoryTable", "metadataJournalTable", "metadataTable"}
	objectSubs = []string{"uploads", "uploadId", "tagging", "acl", "retention", "legal-hold", "attributes", "torrent", "restore",
		"select", "renameObject", "encryption", "annotation"}
)

func firstSub(c *call, names []string) string {
	for _, n := range names {
		if _, ok := c.lookup(n); ok {
			return n
		}
	}
	return ""
}

// s3Operation finds the operation from method, level and sub-resource.
func (c *s3Call) s3Operation() (s3Op, bool) {
	method := c.r.Method
	copying := c.r.Header.Get("X-Amz-Copy-Source") != ""
	switch {
	case c.bucketName == "":
		op := s3Op{event: "ListBuckets", action: "s3:ListAllMyBuckets", do: listBuckets}
		return op, method == http.MethodGet && !c.express()
	case c.key == "":
		sub := firstSub(c.call, bucketSubs)
		if op, ok := bucketOperation(method, sub); ok {
			return op, true
		}
		return subResourceOperation(method, sub)
	}
	sub := firstSub(c.call, objectSubs)
	op, ok := objectOperation(method, sub, copying)
	return op, ok
}

func bucketOperation(method, sub string) (s3Op, bool) {
	switch method + " " + sub {
	case "GET ":
		return s3Op{"ListObjects", "s3:ListBucket", true, false, listObjects}, true
	case "GET versions":
		return s3Op{"ListObjectVersions", "s3:ListBucketVersions", true, false, listVersions}, true
	case "GET uploads":
		return s3Op{"ListMultipartUploads", "s3:ListBucketMultipartUploads", true, false, listUploads}, true
	case "GET location":
		return s3Op{"GetBucketLocation", "s3:GetBucketLocation", false, false, getLocation}, true
	case "HEAD ":
		return s3Op{"HeadBucket", "s3:ListBucket", true, false, headBucket}, true
	case "PUT ":
		return s3Op{"CreateBucket", "s3:CreateBucket", false, false, createBucket}, true
	case "DELETE ":
		return s3Op{"DeleteBucket", "s3:DeleteBucket", false, false, deleteBucket}, true
	case "GET session":
		return s3Op{"CreateSession", "", true, false, createSession}, true
	case "POST delete":
		return s3Op{"DeleteObjects", "", true, false, deleteObjects}, true
	}
	return s3Op{}, false
}

func objectOperation(method, sub string, copying bool) (s3Op, bool) {
	switch method + " " + sub {
	case "GET ":
		return s3Op{"GetObject", "s3:GetObject", true, false, getObject}, true
	case "HEAD ":
		return s3Op{"HeadObject", "s3:GetObject", true, false, getObject}, true
	case "PUT ":
		if copying {
			return s3Op{"CopyObject", "s3:PutObject", true, false, copyObject}, true
		}
		return s3Op{"PutObject", "s3:PutObject", true, true, putObject}, true
	case "DELETE ":
		return s3Op{"DeleteObject", "s3:DeleteObject", true, false, deleteObject}, true
	case "POST uploads":
		return s3Op{"CreateMultipartUpload", "s3:PutObject", true, false, createUpload}, true
	case "PUT uploadId":
		if copying {
			return s3Op{"UploadPartCopy", "s3:PutObject", true, false, uploadPartCopy}, true
		}
		return s3Op{"UploadPart", "s3:PutObject", true, true, uploadPart}, true
	case "POST uploadId":
		return s3Op{"CompleteMultipartUpload", "s3:PutObject", true, false, completeUpload}, true
	case "DELETE uploadId":
		return s3Op{"AbortMultipartUpload", "s3:AbortMultipartUpload", true, false, abortUpload}, true
	case "GET uploadId":
		return s3Op{"ListParts", "s3:ListMultipartUploadParts", true, false, listParts}, true
	case "GET tagging":
		return s3Op{"GetObjectTagging", "s3:GetObjectTagging", true, false, getObjectTags}, true
	case "PUT tagging":
		return s3Op{"PutObjectTagging", "s3:PutObjectTagging", true, false, putObjectTags}, true
	case "DELETE tagging":
		return s3Op{"DeleteObjectTagging", "s3:DeleteObjectTagging", true, false, deleteObjectTags}, true
	case "GET acl":
		return s3Op{"GetObjectAcl", "s3:GetObjectAcl", true, false, getObjectACL}, true
	case "GET attributes":
		return s3Op{"GetObjectAttributes", "s3:GetObjectAttributes", true, false, getAttributes}, true
	}
	return s3Op{}, false
}

// serveS3: https://docs.aws.amazon.com/AmazonS3/latest/API/
func (s *Sim) serveS3(c *call) error {
	sc := &s3Call{call: c, store: s.s3, created: s.created, iam: s.iam}
	c.event.source = c.ep.service + ".amazonaws.com"
	if err := sc.target(); err != nil {
		return err
	}
	op, ok := sc.s3Operation()
	if !ok {
		c.event.name = s.operationOf(c)
		return failure(http.StatusNotImplemented, "NotImplemented", "A header you provided implies functionality that is not implemented.")
	}
	c.event.name, c.event.data = op.event, op.data
	c.event.readOnly = c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	sc.describe()
	if !op.streams {
		if err := c.smallS3Body(); err != nil {
			return err
		}
	}
	if err := sc.admit(op); err != nil {
		return err
	}
	return op.do(sc)
}

// target finds bucket and key. Path style has the bucket first in the path.
func (c *s3Call) target() error {
	c.bucketName = c.ep.bucket
	rest := strings.TrimPrefix(c.path, "/")
	if c.bucketName == "" {
		c.bucketName, rest, _ = strings.Cut(rest, "/")
	}
	var err error
	if c.key, err = percentDecode(rest); err != nil {
		return failure(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI.")
	}
	if len(c.key) > 1024 {
		return failure(http.StatusBadRequest, "KeyTooLongError", "Your key is too long")
	}
	return nil
}

// describe fills in what CloudTrail shows of any S3 call.
func (c *s3Call) describe() {
	p := map[string]any{"Host": c.r.Host}
	if c.bucketName != "" {
		p["bucketName"] = c.bucketName
		c.event.dataARN = c.arn("")
	}
	if c.key != "" {
		p["key"] = c.key
		c.event.dataARN = c.arn(c.key)
		c.event.resources = append(c.event.resources, resource{Type: "AWS::S3::Object", ARN: c.arn(c.key)})
	}
	for _, q := range c.params {
		if !strings.HasPrefix(q.name, "X-Amz-") && !strings.HasPrefix(q.name, "response-") && q.name != "x-id" {
			p[q.name] = q.value
		}
	}
	for _, h := range []string{"x-amz-acl", "x-amz-copy-source", "x-amz-storage-class", "x-amz-server-side-encryption"} {
		if v := c.r.Header.Get(h); v != "" {
			p[h] = v
		}
	}
	c.event.request = p
	if c.bucketName == "" {
		return
	}
	owner := resource{Type: "AWS::S3::Bucket", ARN: c.arn("")}
	if c.bucket = c.store.bucket(c.bucketName); c.bucket != nil {
		c.bucket.mu.RLock()
		owner.AccountID, c.event.dataAlways = c.bucket.meta.Account, c.bucket.meta.DataEvents
		c.bucket.mu.RUnlock()
		if owner.AccountID != c.who.account {
			c.event.otherAccounts = []string{owner.AccountID}
		}
	}
	c.event.resources = append(c.event.resources, owner)
}

// arn of the bucket, or of an object in it.
func (c *s3Call) arn(key string) string {
	arn := "arn:" + c.ep.partition + ":s3:::" + c.bucketName
	if c.express() {
		arn = "arn:" + c.ep.partition + ":s3express:" + c.ep.region + ":" + c.owner() + ":bucket/" + c.bucketName
	}
	if key != "" {
		arn += "/" + key
	}
	return arn
}

// admit checks that the bucket exists, is reached in its region, and that the
// caller may do what op does.
func (c *s3Call) admit(op s3Op) error {
	if c.bucketName == "" {
		return c.authorize(op.action, "*")
	}
	if op.event == "CreateBucket" && !c.ep.multiRegion {
		if c.express() {
			op.action = "s3express:CreateBucket"
		}
		return c.authorize(op.action, c.arn(""))
	}
	if c.bucket == nil || c.ep.multiRegion && c.ep.point == nil {
		return failure(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist", field{"BucketName", c.bucketName})
	}
	region := c.bucket.meta.Region
	if region != c.ep.region && op.event != "GetBucketLocation" {
		e := failure(http.StatusMovedPermanently, "PermanentRedirect",
			"The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
			field{"Endpoint", c.bucketName + ".s3." + region + ".amazonaws.com"}, field{"Bucket", c.bucketName})
		e.header = map[string]string{"X-Amz-Bucket-Region": region}
		return e
	}
	if want := c.r.Header.Get("X-Amz-Expected-Bucket-Owner"); want != "" && want != c.bucket.meta.Account {
		return failure(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	if c.express() {
		return c.admitExpress(op)
	}
	if c.ep.multiRegion {
		if err := c.admitPoint(op); err != nil {
			return err
		}
	}
	if op.action == "" {
		return nil // asked for each key
	}
	arn := c.arn(c.key)
	var extra []field
	if op.action == "s3:ListBucket" || op.action == "s3:ListBucketVersions" {
		arn = c.arn("")
		extra = []field{{"s3:prefix", c.param("prefix")}, {"s3:delimiter", c.param("delimiter")}}
	}
	return c.allowed(c.bucket, op.action, arn, extra...)
}

// allowed combines the caller's policies with the bucket's: in its own account
// either may allow, across accounts both must; a deny in either is final.
func (c *s3Call) allowed(b *bucket, action, arn string, extra ...field) error {
	if c.who.bucket != "" && c.who.bucket == b.meta.Name {
		return nil // was asked by CreateSession
	}
	q := c.question(action, arn, extra...)
	own := c.who.may(q)
	byBucket := implicitDeny
	b.mu.RLock()
	doc, account := b.meta.Sub["policy"], b.meta.Account
	b.mu.RUnlock()
	if doc != "" {
		p, err := parsePolicy(doc)
		if err != nil {
			return err
		}
		byBucket = p.judge(q, true)
	}
	switch {
	case own == explicitDeny:
		return denied(protoS3, c.who, action, arn, own)
	case byBucket == explicitDeny:
		return failure(http.StatusForbidden, "AccessDenied",
			"User: "+c.who.arn()+" is not authorized to perform: "+action+" on resource: \""+arn+"\" with an explicit deny in a resource-based policy")
	case account != c.who.account:
		if own == allow && byBucket == allow {
			return nil
		}
		return failure(http.StatusForbidden, "AccessDenied", "Access Denied")
	case own == allow || byBucket == allow && c.who.sessionPolicy == nil:
		return nil
	}
	return denied(protoS3, c.who, action, arn, own)
}
