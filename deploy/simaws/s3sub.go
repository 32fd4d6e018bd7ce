package simaws

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
)

// subResource is a bucket sub-resource that is kept as it was put and given
// back. What it configures is not simulated, save policy.
type subResource struct {
	event   string // CloudTrail's name after Get, Put or Delete
	action  string // IAM's, likewise
	get     string // XML when nothing was put; "" for an error
	code    string // that error
	message string
}

// cleared marks a default that was deleted.
const cleared = "-"

var subResources = map[string]subResource{
	"policy":       {event: "BucketPolicy", code: "NoSuchBucketPolicy", message: "The bucket policy does not exist"},
	"policyStatus": {event: "BucketPolicyStatus", code: "NoSuchBucketPolicy", message: "The bucket policy does not exist"},
	"acl":          {event: "BucketAcl", get: "acl"},
	"versioning":   {event: "BucketVersioning", get: `<VersioningConfiguration ` + s3Namespace + `/>`},
	"tagging":      {event: "BucketTagging", code: "NoSuchTagSet", message: "The TagSet does not exist"},
	"cors":         {event: "BucketCors", action: "BucketCORS", code: "NoSuchCORSConfiguration", message: "The CORS configuration does not exist"},
	"website":      {event: "BucketWebsite", code: "NoSuchWebsiteConfiguration", message: "The specified bucket does not have a website configuration"},
	"logging":      {event: "BucketLogging", get: `<BucketLoggingStatus ` + s3Namespace + `/>`},
	"lifecycle":    {event: "BucketLifecycle", action: "LifecycleConfiguration", code: "NoSuchLifecycleConfiguration", message: "The lifecycle configuration does not exist"},
	"replication":  {event: "BucketReplication", action: "ReplicationConfiguration", code: "ReplicationConfigurationNotFoundError", message: "The replication configuration was not found"},
	"encryption": {event: "BucketEncryption", action: "EncryptionConfiguration", get: `<ServerSideEncryptionConfiguration ` + s3Namespace +
		`><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>`},
	"object-lock":    {event: "BucketObjectLockConfiguration", code: "ObjectLockConfigurationNotFoundError", message: "Object Lock configuration does not exist for this bucket"},
	"accelerate":     {event: "AccelerateConfiguration", get: `<AccelerateConfiguration ` + s3Namespace + `/>`},
	"requestPayment": {event: "BucketRequestPayment", get: `<RequestPaymentConfiguration ` + s3Namespace + `><Payer>BucketOwner</Payer></RequestPaymentConfiguration>`},
	"ownershipControls": {event: "BucketOwnershipControls", get: `<OwnershipControls ` + s3Namespace + `><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>`,
		code: "OwnershipControlsNotFoundError", message: "The bucket ownership controls were not found"},
	"publicAccessBlock": {event: "BucketPublicAccessBlock", get: `<PublicAccessBlockConfiguration ` + s3Namespace + `><BlockPublicAcls>true</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls><BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>`,
		code: "NoSuchPublicAccessBlockConfiguration", message: "The public access block configuration was not found"},
	"notification":          {event: "BucketNotification", get: `<NotificationConfiguration ` + s3Namespace + `/>`},
	"abac":                  {event: "BucketAbac", get: `<AbacStatus ` + s3Namespace + `><Status>Disabled</Status></AbacStatus>`},
	"metadataConfiguration": {event: "BucketMetadataConfiguration", code: "MetadataConfigurationNotFound", message: "The metadata configuration was not found"},
	"metadataTable":         {event: "BucketMetadataTableConfiguration", code: "MetadataTableConfigurationNotFound", message: "The metadata table configuration was not found"},
	"analytics":             {event: "BucketAnalyticsConfiguration", action: "AnalyticsConfiguration", get: `<ListBucketAnalyticsConfigurationResult ` + s3Namespace + `><IsTruncated>false</IsTruncated></ListBucketAnalyticsConfigurationResult>`},
	"inventory":             {event: "BucketInventoryConfiguration", action: "InventoryConfiguration", get: `<ListInventoryConfigurationsResult ` + s3Namespace + `><IsTruncated>false</IsTruncated></ListInventoryConfigurationsResult>`},
	"metrics":               {event: "BucketMetricsConfiguration", action: "MetricsConfiguration", get: `<ListMetricsConfigurationsResult ` + s3Namespace + `><IsTruncated>false</IsTruncated></ListMetricsConfigurationsResult>`},
	"intelligent-tiering":   {event: "BucketIntelligentTieringConfiguration", action: "IntelligentTieringConfiguration", get: `<ListBucketIntelligentTieringConfigurationsOutput ` + s3Namespace + `><IsTruncated>false</IsTruncated></ListBucketIntelligentTieringConfigurationsOutput>`},
}

func subResourceOperation(method, name string) (s3Op, bool) {
	sub, ok := subResources[name]
	if !ok {
		return s3Op{}, false
	}
	action := sub.action
	if action == "" {
		action = sub.event
	}
	switch method {
	case http.MethodGet:
		return s3Op{"Get" + sub.event, "s3:Get" + action, false, false, func(c *s3Call) error { return getSub(c, name, sub) }}, true
	case http.MethodPut:
		return s3Op{"Put" + sub.event, "s3:Put" + action, false, false, func(c *s3Call) error { return putSub(c, name) }}, true
	case http.MethodDelete:
		if name == "policy" { // the one sub-resource whose deletion is an action of its own
			return s3Op{"DeleteBucketPolicy", "s3:DeleteBucketPolicy", false, false, func(c *s3Call) error { return deleteSub(c, name, sub) }}, true
		}
		return s3Op{"Delete" + sub.event, "s3:Put" + action, false, false, func(c *s3Call) error { return deleteSub(c, name, sub) }}, true
	}
	return s3Op{}, false
}

func getSub(c *s3Call, name string, sub subResource) error {
	c.bucket.mu.RLock()
	body, account := c.bucket.meta.Sub[name], c.bucket.meta.Account
	if name == "policyStatus" && c.bucket.meta.Sub["policy"] != "" {
		body = `<PolicyStatus ` + s3Namespace + `><IsPublic>false</IsPublic></PolicyStatus>`
	}
	c.bucket.mu.RUnlock()
	switch name {
	case "analytics", "inventory", "metrics", "intelligent-tiering": // several a bucket
		if c.param("id") != "" {
			return failure(http.StatusNotFound, "NoSuchConfiguration", "The specified configuration does not exist.")
		}
		c.event.name = "List" + sub.event + "s"
	}
	if body == "" && sub.get == "acl" {
		return c.xml(func(b *bytes.Buffer) { aclXML(b, account) })
	}
	if body == "" {
		body = sub.get
	}
	if body == "" || body == cleared {
		return failure(http.StatusNotFound, sub.code, sub.message, field{"BucketName", c.bucketName})
	}
	kind := "application/xml"
	if name == "policy" {
		kind = "application/json"
	}
	c.answer(http.StatusOK, kind, []byte(body))
	return nil
}

func aclXML(b *bytes.Buffer, account string) {
	b.WriteString("<AccessControlPolicy " + s3Namespace + ">")
	ownerXML(b, "Owner", account)
	b.WriteString(`<AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`)
	element(b, "ID", ownerID(account))
	b.WriteString("</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>")
}

func putSub(c *s3Call, name string) error {
	body := string(c.body)
	switch {
	case name == "policy":
		if _, err := parsePolicy(body); err != nil {
			return failure(http.StatusBadRequest, "MalformedPolicy", err.Error())
		}
	case name == "acl" && body == "": // by header; private is all there is here
		body = ""
	case name == "tagging":
		var t taggingXML
		if xml.Unmarshal(c.body, &t) != nil {
			return malformedXML()
		}
	default:
		if !wellFormed(c.body) {
			return malformedXML()
		}
	}
	if err := c.bucket.setSub(name, body); err != nil {
		return err
	}
	if name == "policy" || name == "tagging" {
		return c.noContent()
	}
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func deleteSub(c *s3Call, name string, sub subResource) error {
	value := ""
	if sub.get != "" && sub.code != "" {
		value = cleared
	}
	if err := c.bucket.setSub(name, value); err != nil {
		return err
	}
	return c.noContent()
}

func (b *bucket) setSub(name, body string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.meta.Sub == nil {
		b.meta.Sub = map[string]string{}
	}
	if body == "" {
		delete(b.meta.Sub, name)
	} else {
		b.meta.Sub[name] = body
	}
	return b.saveMeta()
}

func wellFormed(raw []byte) bool {
	d := xml.NewDecoder(bytes.NewReader(raw))
	n := 0
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n > 0
		}
		if err != nil {
			return false
		}
		n++
	}
}

// taggingXML is a tag set on the wire.
type taggingXML struct {
	XMLName xml.Name  `xml:"Tagging"`
	TagSet  tagSetXML `xml:"TagSet"`
}

type tagSetXML struct {
	Tag []tagXML `xml:"Tag"`
}

type tagXML struct {
	Key   string
	Value string
}
