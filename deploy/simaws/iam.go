package simaws

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// serveIAM answers the few reads that clients make on their way to something
// else. Users and roles are made with PutUser and PutRole.
// https://docs.aws.amazon.com/IAM/latest/APIReference/
func (s *Sim) serveIAM(c *call) error {
	if err := c.parseForm(); err != nil {
		return err
	}
	c.event.source = "iam.amazonaws.com"
	action := c.form.Get("Action")
	arnBase := "arn:" + c.who.partition + ":iam::" + c.who.account + ":"
	switch action {
	case "GetRole":
		c.event.nameIt(action)
		name := c.form.Get("RoleName")
		c.event.request = map[string]any{"roleName": name}
		if err := c.authorize("iam:GetRole", arnBase+"role/"+name); err != nil {
			return err
		}
		r := s.iam.roleByName(c.who.account, name)
		if r == nil {
			e := failure(http.StatusNotFound, "NoSuchEntity", "The role with name "+name+" cannot be found.")
			e.trailCode = "NoSuchEntityException"
			return e
		}
		c.queryAnswer(action, func(b *bytes.Buffer) { r.xml(b, "Role") })
		return nil
	case "ListRoles":
		c.event.nameIt(action)
		if err := c.authorize("iam:ListRoles", arnBase+"role/"); err != nil {
			return err
		}
		c.queryAnswer(action, func(b *bytes.Buffer) {
			element(b, "IsTruncated", "false")
			b.WriteString("<Roles>")
			for _, r := range s.iam.roles(c.who.account) {
				r.xml(b, "member")
			}
			b.WriteString("</Roles>")
		})
		return nil
	case "GetRolePolicy", "PutRolePolicy", "DeleteRolePolicy":
		return s.rolePolicy(c, action)
	case "GetUser":
		return s.getUser(c)
	case "ListAccountAliases":
		c.event.nameIt(action)
		if err := c.authorize("iam:ListAccountAliases", "*"); err != nil {
			return err
		}
		c.queryAnswer(action, func(b *bytes.Buffer) {
			b.WriteString("<AccountAliases/>")
			element(b, "IsTruncated", "false")
		})
		return nil
	}
	return s.serveUnknown(c)
}

func (s *Sim) getUser(c *call) error {
	c.event.nameIt("GetUser")
	name := c.form.Get("UserName")
	if name == "" {
		if c.who.isRole() {
			return failure(http.StatusBadRequest, "ValidationError", "Must specify userName when calling with non-User credentials")
		}
		name = c.who.userName
	} else {
		c.event.request = map[string]any{"userName": name}
	}
	arn := "arn:" + c.who.partition + ":iam::" + c.who.account + ":user/" + name
	if err := c.authorize("iam:GetUser", arn); err != nil {
		return err
	}
	u := s.iam.user(arn)
	if u == nil {
		e := failure(http.StatusNotFound, "NoSuchEntity", "The user with name "+name+" cannot be found.")
		e.trailCode = "NoSuchEntityException"
		return e
	}
	c.queryAnswer("GetUser", func(b *bytes.Buffer) {
		b.WriteString("<User>")
		element(b, "Path", "/")
		element(b, "UserName", u.Name)
		element(b, "UserId", u.ID)
		element(b, "Arn", u.ARN)
		element(b, "CreateDate", u.Created.UTC().Format(time.RFC3339))
		b.WriteString("</User>")
	})
	return nil
}

func (r *roleRecord) xml(b *bytes.Buffer, name string) {
	_, _, _, _, res, _ := splitARN(r.ARN)
	b.WriteString("<" + name + ">")
	element(b, "Path", res[len("role"):len(res)-len(r.Name)])
	element(b, "RoleName", r.Name)
	element(b, "RoleId", r.ID)
	element(b, "Arn", r.ARN)
	element(b, "CreateDate", r.Created.UTC().Format(time.RFC3339))
	element(b, "AssumeRolePolicyDocument", url.QueryEscape(r.TrustPolicy))
	if r.Description != "" {
		element(b, "Description", r.Description)
	}
	element(b, "MaxSessionDuration", strconv.Itoa(int(r.MaxSessionDuration/time.Second)))
	b.WriteString("</" + name + ">")
}
