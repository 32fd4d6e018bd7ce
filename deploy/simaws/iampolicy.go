package simaws

import (
	"bytes"
	"maps"
	"net/http"
	"net/url"
	"unicode"
)

// maxInline is what all inline policies of a role may have together, white space
// not counted (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
const maxInline = 10_240

// rolePolicy gets, puts and deletes an inline policy of a role.
func (s *Sim) rolePolicy(c *call, action string) error {
	c.event.nameIt(action)
	role, name, doc := c.form.Get("RoleName"), c.form.Get("PolicyName"), c.form.Get("PolicyDocument")
	c.event.request = map[string]any{"roleName": role, "policyName": name}
	if doc != "" {
		c.event.request = map[string]any{"roleName": role, "policyName": name, "policyDocument": doc}
	}
	r, arn := s.iam.roleByName(c.who.account, role), "arn:"+c.who.partition+":iam::"+c.who.account+":role/"+role
	if r != nil {
		arn = r.ARN // with its path
	}
	if err := c.authorize("iam:"+action, arn); err != nil {
		return err
	}
	none := func(what string) error {
		e := failure(http.StatusNotFound, "NoSuchEntity", what+" cannot be found.")
		e.trailCode = "NoSuchEntityException"
		return e
	}
	if r == nil {
		return none("The role with name " + role)
	}
	if action == "GetRolePolicy" {
		text, ok := r.Inline[name]
		if !ok {
			return none("The role policy with name " + name)
		}
		c.queryAnswer(action, func(b *bytes.Buffer) {
			element(b, "RoleName", role)
			element(b, "PolicyName", name)
			element(b, "PolicyDocument", url.QueryEscape(text))
		})
		return nil
	}
	if action == "PutRolePolicy" {
		if _, err := parsePolicy(doc); err != nil {
			return failure(http.StatusBadRequest, "MalformedPolicyDocument", err.Error())
		}
	} else if _, ok := r.Inline[name]; !ok {
		return none("The role policy with name " + name)
	}
	if err := s.iam.putInline(r.ARN, name, doc); err != nil {
		return err
	}
	// These actions have no result, only an envelope.
	var b bytes.Buffer
	b.WriteString("<" + action + "Response xmlns=\"" + queryNamespace[c.ep.service] + "\"><ResponseMetadata>")
	element(&b, "RequestId", c.requestID)
	b.WriteString("</ResponseMetadata></" + action + "Response>")
	c.answer(http.StatusOK, "text/xml", b.Bytes())
	return nil
}

// putInline sets an inline policy of a role; doc "" deletes it.
func (d *directory) putInline(arn, name, doc string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.state.Roles[arn]
	if old == nil {
		return failure(http.StatusNotFound, "NoSuchEntity", "The role cannot be found.")
	}
	r := *old // sessions hold the record as it was
	r.Inline = maps.Clone(old.Inline)
	if r.Inline == nil {
		r.Inline = map[string]string{}
	}
	if r.Inline[name] = doc; doc == "" {
		delete(r.Inline, name)
	}
	size := 0
	for _, text := range r.Inline {
		for _, c := range text {
			if !unicode.IsSpace(c) {
				size++
			}
		}
	}
	if size > maxInline {
		return failure(http.StatusConflict, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role "+r.Name)
	}
	if err := r.parse(); err != nil {
		return failure(http.StatusBadRequest, "MalformedPolicyDocument", err.Error())
	}
	d.state.Roles[arn] = &r
	return d.save()
}
