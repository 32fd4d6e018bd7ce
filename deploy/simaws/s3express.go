package simaws

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// bucketSessionLife is how long S3 Express's credentials are good
// (https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html).
const bucketSessionLife = 5 * time.Minute

// directoryBucket is the end of the names of directory buckets:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html
var directoryBucket = regexp.MustCompile(`--[a-z0-9-]+--x-s3$`)

func (c *s3Call) express() bool { return c.ep.service == "s3express" }

// owner is the account of the bucket, or of who is about to make it.
func (c *s3Call) owner() string {
	if b := c.store.bucket(c.bucketName); b != nil {
		return b.meta.Account
	}
	return c.who.account
}

// ownAuthorization are the operations at a zone's host that take credentials
// other than CreateSession's.
var ownAuthorization = []string{"CreateSession", "HeadBucket", "CopyObject", "UploadPartCopy"}

// admitExpress: a zone's host takes the credentials that CreateSession gave for
// the bucket, within their mode, and hardly anything else.
func (c *s3Call) admitExpress(op s3Op) error {
	switch {
	case c.ep.bucket == "": // s3express-control
		return c.allowed(c.bucket, strings.Replace(op.action, "s3:", "s3express:", 1), c.arn(""))
	case c.who.bucket == "" && slices.Contains(ownAuthorization, op.event):
		mode := c.r.Header.Get("X-Amz-Create-Session-Mode")
		if mode == "" {
			mode = "ReadWrite"
		}
		return c.allowed(c.bucket, "s3express:CreateSession", c.arn(""), field{"s3express:SessionMode", mode})
	case c.who.bucket != c.bucketName || op.event == "CreateSession" || c.who.readOnly && !c.event.readOnly:
		return failure(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	return nil
}

func createSession(c *s3Call) error {
	if !c.express() {
		return failure(http.StatusNotImplemented, "NotImplemented", "Only directory buckets have sessions.")
	}
	w := c.who
	s, token, err := c.iam.issue(session{Kind: bucketSession, Bucket: c.bucketName,
		ReadOnly: c.r.Header.Get("X-Amz-Create-Session-Mode") == "ReadOnly",
		RoleARN:  w.roleARN, RoleID: w.roleID, SessionName: w.sessionName, UserARN: w.userARN,
		SourceIdentity: w.sourceIdentity, Tags: w.tags, Transitive: w.transitive, Chained: w.chained,
		Issued: c.at.Truncate(time.Second), Expires: c.at.Add(bucketSessionLife).Truncate(time.Second)})
	if err != nil {
		return err
	}
	return c.xml(func(b *bytes.Buffer) {
		b.WriteString("<CreateSessionResult " + s3Namespace + ">")
		credentialsXML(b, s, token)
		b.WriteString("</CreateSessionResult>")
	})
}
