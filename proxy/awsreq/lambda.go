package awsreq

import (
	"regexp"
	"slices"
	"strings"
)

// functionName is what Lambda takes for a function: [region:][account:][function:]name[:qualifier]
// (the pattern of NamespacedFunctionName in its service model, but for ARNs).
var functionName = regexp.MustCompile(`^(?:([a-z]{2}(?:-[a-z]+)+-[0-9]):)?(?:([0-9]{12}):)?(?:function:)?([a-zA-Z0-9_.-]+)(?::(\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9_-]+))?$`)

var qualifier = regexp.MustCompile(`^(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9_-]+)$`)

// qualified are the operations of which it is documented that IAM compares the function's
// ARN with its qualifier where the request has one, and not without
// (https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html). Of others,
// both must be allowed.
var qualified = []string{
	"AddPermission", "CreateFunctionUrlConfig", "DeleteFunctionUrlConfig", "DeleteProvisionedConcurrencyConfig", "GetFunctionUrlConfig",
	"GetProvisionedConcurrencyConfig", "Invoke", "InvokeAsync", "InvokeWithResponseStream", "ListDurableExecutionsByFunction",
	"PutProvisionedConcurrencyConfig", "RemovePermission", "UpdateFunctionUrlConfig",
}

// nameFunction puts the ARN in the place of a Lambda function's name where that says more
// than the name: a partial ARN, a version or an alias. Not ok: it is not to be understood,
// or names two qualifiers.
func (p *params) nameFunction(r *Request) (ok bool) {
	if !strings.HasPrefix(p.o.types, "function") {
		return true
	}
	at := slices.IndexFunc(p.list, func(v param) bool { return v.name == "FunctionName" })
	if at < 0 {
		return true
	}
	beside := ""
	for _, v := range p.list {
		if v.name == "Qualifier" && beside != "" && v.value != beside {
			return false
		} else if v.name == "Qualifier" {
			beside = v.value
		}
	}
	value := p.list[at].value
	if beside == "" && !strings.Contains(value, ":") {
		return true // a plain name
	}
	front := "arn:" + r.Partition + ":lambda:"
	given := strings.HasPrefix(value, "arn:")
	if given {
		if value, ok = strings.CutPrefix(value, front); !ok {
			return false
		}
	}
	f := functionName.FindStringSubmatch(value)
	if f == nil {
		return false
	}
	region, account, name, inName := f[1], f[2], f[3], f[4]
	switch {
	case given && (region == "" || account == ""), beside != "" && !qualifier.MatchString(beside), inName != "" && beside != "" && inName != beside:
		return false
	case region == "":
		region = r.Region
	case region != r.Region && !given:
		return false // AWS answers for no other region
	}
	if account == "" {
		account = r.Account
	}
	if inName == "" {
		inName = beside
	}
	if account == "" {
		return false
	}
	arn := front + region + ":" + account + ":function:" + name
	if inName == "" {
		p.list[at].value = arn
		return true
	}
	p.list[at].value = arn + ":" + inName
	if !slices.Contains(qualified, p.o.name) {
		p.put("FunctionName", arn)
	}
	return true
}
