package simaws

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

var (
	sessionNamePattern = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	tagPattern         = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// serveSTS: https://docs.aws.amazon.com/STS/latest/APIReference/
func (s *Sim) serveSTS(c *call) error {
	if err := c.parseForm(); err != nil {
		return err
	}
	c.event.source = "sts.amazonaws.com"
	c.event.readOnly = true // CloudTrail calls all of STS read-only
	action := c.form.Get("Action")
	switch action {
	case "GetCallerIdentity":
		c.event.name = action
		c.queryAnswer(action, func(b *bytes.Buffer) {
			element(b, "Arn", c.who.arn())
			element(b, "UserId", c.who.principalID())
			element(b, "Account", c.who.account)
		})
		return nil
	case "AssumeRole":
		return s.assumeRole(c)
	case "GetSessionToken":
		return s.getSessionToken(c)
	}
	return s.serveUnknown(c)
}

// queryAnswer writes a result in the query protocol's envelope.
func (c *call) queryAnswer(action string, result func(*bytes.Buffer)) {
	var b bytes.Buffer
	b.WriteString("<" + action + "Response xmlns=\"" + queryNamespace[c.ep.service] + "\"><" + action + "Result>")
	result(&b)
	b.WriteString("</" + action + "Result><ResponseMetadata>")
	element(&b, "RequestId", c.requestID)
	b.WriteString("</ResponseMetadata></" + action + "Response>")
	c.answer(http.StatusOK, "text/xml", b.Bytes())
}

func invalid(format string, args ...any) error {
	return failure(http.StatusBadRequest, "ValidationError", fmt.Sprintf(format, args...))
}

// assumeRequest is AssumeRole's input, checked for form.
type assumeRequest struct {
	roleARN, sessionName, externalID, sourceIdentity, policy string
	duration                                                 time.Duration
	tags                                                     map[string]string
	transitive                                               []string
}

func (c *call) assumeInput() (assumeRequest, error) {
	in := assumeRequest{roleARN: c.form.Get("RoleArn"), sessionName: c.form.Get("RoleSessionName"),
		externalID: c.form.Get("ExternalId"), sourceIdentity: c.form.Get("SourceIdentity"), policy: c.form.Get("Policy"),
		duration: time.Hour, tags: map[string]string{}}
	if _, service, _, _, _, ok := splitARN(in.roleARN); !ok || service != "iam" {
		return in, invalid("%s is invalid", in.roleARN)
	}
	for name, v := range map[string]string{"roleSessionName": in.sessionName, "sourceIdentity": in.sourceIdentity} {
		if (v != "" || name == "roleSessionName") && !sessionNamePattern.MatchString(v) {
			return in, invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*, length 2 to 64", v, name)
		}
	}
	if v := c.form.Get("DurationSeconds"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 900 {
			return in, invalid("1 validation error detected: Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900", v)
		}
		if n > 43200 {
			return in, invalid("1 validation error detected: Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to 43200", v)
		}
		in.duration = time.Duration(n) * time.Second
	}
	if in.externalID != "" && (len(in.externalID) < 2 || len(in.externalID) > 1224) {
		return in, invalid("1 validation error detected: Value at 'externalId' failed to satisfy constraint: Member must have length between 2 and 1224")
	}
	for i := 1; c.form.Has(fmt.Sprintf("Tags.member.%d.Key", i)); i++ {
		k, v := c.form.Get(fmt.Sprintf("Tags.member.%d.Key", i)), c.form.Get(fmt.Sprintf("Tags.member.%d.Value", i))
		if _, dup := in.tags[k]; dup || k == "" || len(k) > 128 || len(v) > 256 || !tagPattern.MatchString(k) || !tagPattern.MatchString(v) || i > 50 {
			return in, invalid("1 validation error detected: Value at 'tags' failed to satisfy constraint (tag %q)", k)
		}
		in.tags[k] = v
	}
	for i := 1; c.form.Has(fmt.Sprintf("TransitiveTagKeys.member.%d", i)); i++ {
		in.transitive = append(in.transitive, c.form.Get(fmt.Sprintf("TransitiveTagKeys.member.%d", i)))
	}
	if c.form.Has("PolicyArns.member.1.arn") {
		return in, invalid("PolicyArns is not simulated")
	}
	return in, nil
}

func (s *Sim) assumeRole(c *call) error {
	c.event.name = "AssumeRole"
	in, err := c.assumeInput()
	c.event.request = assumeParameters(in, c.form.Has("DurationSeconds"))
	if err != nil {
		return err
	}
	c.event.resources = []resource{{Type: "AWS::IAM::Role", ARN: in.roleARN}}
	refused := func(action string) error {
		return failure(http.StatusForbidden, "AccessDenied",
			"User: "+c.who.arn()+" is not authorized to perform: "+action+" on resource: "+in.roleARN)
	}
	role := s.iam.role(in.roleARN)
	if role == nil {
		return refused("sts:AssumeRole") // AWS does not tell whether a role exists
	}
	c.event.resources[0].AccountID = role.Account
	if role.Account != c.who.account {
		c.event.otherAccounts = []string{role.Account}
	}
	// Session state that chaining carries over.
	if c.who.sourceIdentity != "" {
		if in.sourceIdentity != "" && in.sourceIdentity != c.who.sourceIdentity {
			return refused("sts:SetSourceIdentity")
		}
		in.sourceIdentity = c.who.sourceIdentity
	}
	for _, k := range c.who.transitive {
		if _, clash := in.tags[k]; clash {
			return invalid("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session: %s", k)
		}
	}
	if action := trustRefusal(c, role, in); action != "" {
		return refused(action)
	}
	if c.who.isRole() && in.duration > time.Hour {
		return invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	}
	if in.duration > role.MaxSessionDuration {
		return invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	if in.policy != "" {
		if _, err := parsePolicy(in.policy); err != nil {
			return failure(http.StatusBadRequest, "MalformedPolicyDocument", err.Error())
		}
	}
	for _, k := range c.who.transitive {
		in.tags[k], in.transitive = c.who.tags[k], append(in.transitive, k)
	}
	ses, token, err := s.iam.issue(session{RoleARN: role.ARN, RoleID: role.ID, SessionName: in.sessionName,
		SourceIdentity: in.sourceIdentity, Tags: in.tags, Transitive: in.transitive, Chained: c.who.isRole(), Policy: in.policy,
		Issued: c.at.Truncate(time.Second), Expires: c.at.Add(in.duration).Truncate(time.Second)})
	if err != nil {
		return err
	}
	arn := "arn:" + c.who.partition + ":sts::" + role.Account + ":assumed-role/" + role.Name + "/" + in.sessionName
	c.event.response = map[string]any{
		"credentials":     map[string]string{"accessKeyId": ses.AccessKey, "sessionToken": "HIDDEN_DUE_TO_SECURITY_REASONS", "expiration": trailTime(ses.Expires)},
		"assumedRoleUser": map[string]string{"assumedRoleId": role.ID + ":" + in.sessionName, "arn": arn},
	}
	if in.sourceIdentity != "" {
		c.event.response.(map[string]any)["sourceIdentity"] = in.sourceIdentity
	}
	c.queryAnswer("AssumeRole", func(b *bytes.Buffer) {
		credentialsXML(b, ses, token)
		b.WriteString("<AssumedRoleUser>")
		element(b, "AssumedRoleId", role.ID+":"+in.sessionName)
		element(b, "Arn", arn)
		b.WriteString("</AssumedRoleUser>")
		if in.sourceIdentity != "" {
			element(b, "SourceIdentity", in.sourceIdentity)
		}
		if in.policy != "" || len(in.tags) > 0 {
			element(b, "PackedPolicySize", "6")
		}
	})
	return nil
}

// trustRefusal names the first action that is not allowed, or "".
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html and
// …/id_credentials_temp_control-access_monitor.html: tags and source identity
// need permissions of their own in the trust policy.
func trustRefusal(c *call, role *roleRecord, in assumeRequest) string {
	extra := []field{{"sts:RoleSessionName", in.sessionName}}
	if in.externalID != "" {
		extra = append(extra, field{"sts:ExternalId", in.externalID})
	}
	if in.sourceIdentity != "" {
		extra = append(extra, field{"sts:SourceIdentity", in.sourceIdentity})
	}
	for k, v := range in.tags {
		extra = append(extra, field{"aws:RequestTag/" + k, v})
	}
	need := []string{"sts:AssumeRole"}
	if len(in.tags) > 0 || len(in.transitive) > 0 || len(c.who.transitive) > 0 {
		need = append(need, "sts:TagSession")
	}
	if in.sourceIdentity != "" {
		need = append(need, "sts:SetSourceIdentity")
	}
	for _, action := range need {
		q := c.question(action, role.ARN, extra...)
		if len(in.tags) > 0 {
			q.keys["aws:tagkeys"] = slices.Sorted(maps.Keys(in.tags))
		}
		if len(in.transitive) > 0 {
			q.keys["sts:transitivetagkeys"] = in.transitive
		}
		if role.trust.judge(q, true) != allow || c.who.may(q) != allow {
			return action
		}
	}
	return ""
}

func assumeParameters(in assumeRequest, withDuration bool) map[string]any {
	p := map[string]any{"roleArn": in.roleARN, "roleSessionName": in.sessionName}
	if withDuration {
		p["durationSeconds"] = int(in.duration / time.Second)
	}
	if in.externalID != "" {
		p["externalId"] = in.externalID
	}
	if in.sourceIdentity != "" {
		p["sourceIdentity"] = in.sourceIdentity
	}
	if in.policy != "" {
		p["policy"] = in.policy
	}
	if len(in.tags) > 0 {
		var tags []map[string]string
		for _, k := range slices.Sorted(maps.Keys(in.tags)) {
			tags = append(tags, map[string]string{"key": k, "value": in.tags[k]})
		}
		p["tags"] = tags
	}
	if len(in.transitive) > 0 {
		p["transitiveTagKeys"] = slices.Clone(in.transitive)
	}
	return p
}

// trailTime is how CloudTrail writes times inside responseElements.
func trailTime(t time.Time) string { return t.UTC().Format("Jan 2, 2006, 3:04:05 PM") }

func credentialsXML(b *bytes.Buffer, s session, token string) {
	b.WriteString("<Credentials>")
	element(b, "AccessKeyId", s.AccessKey)
	element(b, "SecretAccessKey", s.Secret)
	element(b, "SessionToken", token)
	element(b, "Expiration", s.Expires.UTC().Format(time.RFC3339))
	b.WriteString("</Credentials>")
}

func (s *Sim) getSessionToken(c *call) error {
	c.event.name = "GetSessionToken"
	if c.who.temporary() {
		return failure(http.StatusForbidden, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	}
	duration := 12 * time.Hour
	if v := c.form.Get("DurationSeconds"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 900 || n > 129600 {
			return invalid("1 validation error detected: Value '%s' at 'durationSeconds' failed to satisfy constraint: Member must have value between 900 and 129600", v)
		}
		duration = time.Duration(n) * time.Second
	}
	ses, token, err := s.iam.issue(session{UserARN: c.who.userARN, Issued: c.at.Truncate(time.Second), Expires: c.at.Add(duration).Truncate(time.Second)})
	if err != nil {
		return err
	}
	c.event.response = map[string]any{"credentials": map[string]string{"accessKeyId": ses.AccessKey, "expiration": trailTime(ses.Expires)}}
	c.queryAnswer("GetSessionToken", func(b *bytes.Buffer) { credentialsXML(b, ses, token) })
	return nil
}
