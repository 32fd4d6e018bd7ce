package awsreq

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// s3Action adjusts the actions of an S3 operation to what the request says
// besides (a version, an ACL to be set along with an object), and to the host:
// Object Lambda, Outposts and directory buckets have actions of their own.
func (t *Table) s3Action(in *Input, r *Request) {
	switch in.Host.S3 {
	case S3Express:
		// All of a directory bucket's data operations are authorised by a session; what is
		// copied into it may be read from elsewhere.
		r.Action, r.Also = createSession, nil
		if read := in.reads(); read != createSession && (r.Operation == "CopyObject" || r.Operation == "UploadPartCopy") {
			r.Also = []Action{{read, Read}}
		}
		return
	case S3ExpressPath:
		t.s3Also(in, r)
		if _, ok := t.elsewhere["s3express"][r.Action]; ok {
			r.ActionKnown = true
		}
		t.s3Elsewhere("s3express", r)
		return
	}
	if in.RawQuery != "" && hasQuery(in.RawQuery, "versionId") {
		if a := versioned(r.Operation); a != "" {
			r.Action = a
		}
		if r.Operation == "GetObjectAttributes" {
			r.Also = []Action{{attributesOfVersion, Read}}
		}
	}
	t.s3Also(in, r)
	bucket, _ := in.s3Target()
	switch in.s3Style(decode(bucket, true)) {
	case S3ObjectLambda:
		t.s3Elsewhere("s3-object-lambda", r)
	case S3Outposts:
		t.s3Elsewhere("s3-outposts", r)
	}
}

// attributesOfVersion is what GetObjectAttributes of a version takes in the place of its second
// action (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html).
const attributesOfVersion = "s3:GetObjectVersionAttributes"

const createSession = "s3express:CreateSession"

// reads is the action by which a copy reads its source, which directory buckets grant by a
// session (https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-buckets-objects-copy.html).
func (in *Input) reads() string {
	v := in.Header["X-Amz-Copy-Source"]
	switch {
	case len(v) == 1 && ofDirectory(decode(slashless(v[0]), true)):
		return createSession
	case len(v) == 1 && strings.Contains(v[0], "?versionId="):
		return "s3:GetObjectVersion"
	}
	return "s3:GetObject"
}

// s3Elsewhere puts another prefix's actions in the place of S3's, where it has
// such.
func (t *Table) s3Elsewhere(prefix string, r *Request) {
	if a, ok := t.elsewhere[prefix][r.Action]; ok {
		r.Action = a
	}
	if len(r.Also) == 0 {
		return
	}
	r.Also = slices.Clone(r.Also)
	for i, one := range r.Also {
		if a, ok := t.elsewhere[prefix][one.Name]; ok {
			r.Also[i].Name = a
		}
	}
}

// versioned is the action of an operation on one version of an object, "" if it
// is the same (Service Authorization Reference, "Amazon S3").
func versioned(operation string) string {
	switch operation {
	case "GetObject", "HeadObject", "GetObjectAttributes":
		return "s3:GetObjectVersion"
	case "GetObjectAcl":
		return "s3:GetObjectVersionAcl"
	case "GetObjectAnnotation":
		return "s3:GetObjectVersionAnnotation"
	case "PutObjectAnnotation":
		return "s3:PutObjectVersionAnnotation"
	case "DeleteObjectAnnotation":
		return "s3:DeleteObjectVersionAnnotation"
	case "ListObjectAnnotations":
		return "s3:ListObjectVersionAnnotations"
	case "GetObjectTagging":
		return "s3:GetObjectVersionTagging"
	case "GetObjectTorrent":
		return "s3:GetObjectVersionTorrent"
	case "PutObjectAcl":
		return "s3:PutObjectVersionAcl"
	case "PutObjectTagging":
		return "s3:PutObjectVersionTagging"
	case "DeleteObject":
		return "s3:DeleteObjectVersion"
	case "DeleteObjectTagging":
		return "s3:DeleteObjectVersionTagging"
	}
	return ""
}

// s3Also adds what a request asks for along with its operation, in headers, or
// in the query of a presigned URL. Sources: "Permissions" of PutObject,
// CreateBucket and others in the Amazon S3 API Reference.
func (t *Table) s3Also(in *Input, r *Request) {
	add := func(name string, level AccessLevel) { r.Also = append(slices.Clip(r.Also), Action{name, level}) }
	switch r.Operation {
	case "PutObject", "CopyObject", "CreateMultipartUpload":
		if in.amz("X-Amz-Acl") || in.amzGrants() {
			add("s3:PutObjectAcl", Permissions)
		}
		if in.amz("X-Amz-Tagging") {
			add("s3:PutObjectTagging", Tagging)
		}
		if in.amz("X-Amz-Object-Lock-Mode") || in.amz("X-Amz-Object-Lock-Retain-Until-Date") {
			add("s3:PutObjectRetention", Write)
		}
		if in.amz("X-Amz-Object-Lock-Legal-Hold") {
			add("s3:PutObjectLegalHold", Write)
		}
	case "CreateBucket":
		if in.amz("X-Amz-Acl") || in.amzGrants() {
			add("s3:PutBucketAcl", Permissions)
		}
		if in.amz("X-Amz-Bucket-Object-Lock-Enabled") {
			add("s3:PutBucketObjectLockConfiguration", Write)
			add("s3:PutBucketVersioning", Write)
		}
		if in.amz("X-Amz-Object-Ownership") {
			add("s3:PutBucketOwnershipControls", Permissions)
		}
		if in.mayTag() {
			add("s3:TagResource", Tagging)
		}
	case "DeleteObject", "DeleteObjects", "PutObjectRetention":
		if in.amz("X-Amz-Bypass-Governance-Retention") {
			add("s3:BypassGovernanceRetention", Permissions)
		}
	}
	switch r.Operation {
	case "CopyObject", "UploadPartCopy":
		if read := in.reads(); read != "s3:GetObject" {
			r.Also = slices.Clone(r.Also)
			for i, a := range r.Also {
				if a.Name == "s3:GetObject" {
					r.Also[i].Name = read
				}
			}
		}
	case "PutObject", "UploadPart":
		// In a query it would be nothing that AWS documents.
		if hasQueryFold(in.RawQuery, "x-amz-copy-source") {
			r.doubtful("names what it copies in its query")
		}
	}
}

// amz tells whether a header of AWS's is there, or a parameter in its place.
func (in *Input) amz(name string) bool {
	return len(in.Header[name]) > 0 || hasQueryFold(in.RawQuery, name)
}

// mayTag tells whether a bucket's configuration may have tags: it is XML that nobody
// needs to parse where all of it was seen and does not even say the word.
func (in *Input) mayTag() bool {
	return !in.BodyComplete || bytes.Contains(in.Body, []byte("Tag")) || bytes.IndexByte(in.Body, 0) >= 0 || !utf8.Valid(in.Body)
}

// grantHeaders set an ACL piece by piece.
var grantHeaders = [...]string{"X-Amz-Grant-Full-Control", "X-Amz-Grant-Read", "X-Amz-Grant-Read-Acp", "X-Amz-Grant-Write", "X-Amz-Grant-Write-Acp"}

func (in *Input) amzGrants() bool {
	for _, name := range grantHeaders {
		if in.amz(name) {
			return true
		}
	}
	return false
}

// hasQueryFold is hasQuery for a name in whatever case.
func hasQueryFold(query, name string) bool {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		k, _, _ := strings.Cut(pair, "=")
		if strings.IndexByte(k, '%') >= 0 {
			k = decode(k, false)
		}
		if len(k) == len(name) && strings.EqualFold(k, name) {
			return true
		}
	}
	return false
}

// controlResources names what S3 Control's paths name: access points, buckets on
// Outposts, jobs and others, in the account that the request is about.
func controlResources(in *Input, r *Request) []string {
	path, ok := strings.CutPrefix(in.Path, "/v20180820/")
	if !ok {
		return nil
	}
	kind, rest, _ := strings.Cut(path, "/")
	name, tail, _ := strings.Cut(rest, "/")
	if kind == "tags" { // of an ARN, whose slashes clients leave as they are
		name = rest
	}
	if name = decode(name, true); name == "" {
		return nil
	}
	account, outpost := r.Account, ""
	if in.Host.AccountID != "" {
		account = in.Host.AccountID
	}
	if v := in.Header["X-Amz-Account-Id"]; len(v) > 0 && digits(v[0]) != "" {
		if len(v) > 1 || in.Host.AccountID != "" && in.Host.AccountID != v[0] {
			r.doubtful("names two accounts")
		}
		account = v[0]
	}
	if v := in.Header["X-Amz-Outpost-Id"]; len(v) > 0 {
		if outpost = v[0]; len(v) > 1 {
			r.doubtful("names two Outposts")
		}
	}
	if strings.HasPrefix(name, "arn:") { // Snowball and others that name it whole
		return []string{name}
	}
	arn := func(service, region, resource string) []string {
		return []string{"arn:" + r.Partition + ":" + service + ":" + region + ":" + account + ":" + resource}
	}
	switch kind {
	case "accesspoint":
		switch {
		case outpost != "":
			return arn("s3-outposts", r.Region, "outpost/"+outpost+"/accesspoint/"+name)
		case in.Host.S3 == S3ExpressPath:
			return arn("s3express", r.Region, "accesspoint/"+name)
		}
		return arn("s3", r.Region, "accesspoint/"+name)
	case "accesspointforobjectlambda":
		return arn("s3-object-lambda", r.Region, "accesspoint/"+name)
	case "bucket":
		if outpost != "" {
			return arn("s3-outposts", r.Region, "outpost/"+outpost+"/bucket/"+name)
		}
	case "jobs":
		return arn("s3", r.Region, "job/"+name)
	case "storagelens":
		return arn("s3", r.Region, "storage-lens/"+name)
	case "storagelensgroup":
		return arn("s3", r.Region, "storage-lens-group/"+name)
	case "mrap":
		if point, _, _ := strings.Cut(tail, "/"); name == "instances" && point != "" {
			return arn("s3", "", "accesspoint/"+decode(point, true))
		}
	}
	return nil
}

// controlAction is the action of S3 Control's operations at Outposts and for
// directory buckets.
func (t *Table) controlAction(in *Input, r *Request) {
	switch {
	case in.Host.S3 == S3ExpressPath:
		t.s3Elsewhere("s3express", r)
	case len(in.Header["X-Amz-Outpost-Id"]) > 0 || in.Host.Endpoint == "s3-outposts":
		t.s3Elsewhere("s3-outposts", r)
	}
}

// deletes reads what a DeleteObjects deletes: its keys, and whether any in a
// version of its own; ok says that all of it was seen and that it says nothing
// else: S3's own reader may take the first of two keys, or look deeper than ours.
func deletes(in *Input) (keys []string, versions, ok bool) {
	if in.Method != http.MethodPost || !in.BodyComplete {
		return nil, false, false
	}
	d := xml.NewDecoder(bytes.NewReader(in.Body))
	var path [3]string // Delete, Object, and what it consists of
	var space string   // Delete's
	var text strings.Builder
	depth, roots := 0, 0
	var key, version string
	has := map[string]bool{} // what the current object consists of
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return keys, versions, roots == 1
		} else if err != nil {
			return nil, false, false
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if depth == len(path) {
				return nil, false, false
			}
			if depth == 0 {
				space = tok.Name.Space
				roots++
			}
			if tok.Name.Space != space {
				return nil, false, false
			}
			path[depth] = tok.Name.Local
			depth++
			text.Reset()
			switch where := strings.Join(path[:depth], "/"); where {
			case "Delete", "Delete/Quiet":
			case "Delete/Object":
				key, version = "", ""
				clear(has)
			case "Delete/Object/Key", "Delete/Object/VersionId", "Delete/Object/ETag", "Delete/Object/LastModifiedTime", "Delete/Object/Size":
				if has[where] {
					return nil, false, false
				}
				has[where] = true
			default:
				return nil, false, false
			}
		case xml.EndElement:
			switch strings.Join(path[:depth], "/") {
			case "Delete/Object/Key":
				key = text.String()
			case "Delete/Object/VersionId":
				version = text.String()
			case "Delete/Object":
				if strings.TrimSpace(key) != key || key == "" {
					return nil, false, false
				}
				keys = append(keys, key)
				versions = versions || version != ""
			}
			depth--
			text.Reset()
		case xml.CharData:
			// Between elements there is nothing but space.
			if text.Write(tok); depth < len(path) && strings.Join(path[:depth], "/") != "Delete/Quiet" && len(bytes.TrimSpace(tok)) > 0 {
				return nil, false, false
			}
		case xml.ProcInst:
			if tok.Target != "xml" || depth > 0 || roots > 0 {
				return nil, false, false
			}
		default: // comments may end a text for some, directives may define entities
			return nil, false, false
		}
	}
}
