package awsreq

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestServices: whose resources calls can be about. Sources: Service Authorization
// Reference, and the inputs in the services' API references.
func TestServices(t *testing.T) {
	tab := newTable(t)
	none := []string{NoService}
	for _, c := range []struct {
		service, operation, action string
		want                       []string
	}{
		{"ec2", "DescribeInstances", "ec2:DescribeInstances", none},
		{"s3", "ListBuckets", "s3:ListAllMyBuckets", none},
		{"sqs", "ListQueues", "sqs:ListQueues", none},
		{"cloudwatch", "PutMetricData", "cloudwatch:PutMetricData", []string{"cloudwatch"}},
		{"athena", "ListWorkGroups", "athena:ListWorkGroups", none},
		{"elbv2", "DescribeLoadBalancers", "elasticloadbalancing:DescribeLoadBalancers", none},
		{"lambda", "GetFunction", "lambda:GetFunction", []string{"lambda"}},
		{"ssm", "GetParameter", "ssm:GetParameter", []string{"ssm", "secretsmanager"}},
		{"lambda", "InvokeFunctionUrl", "lambda:InvokeFunctionUrl", []string{"lambda"}},
		// With these a service acts on what is another's, with its caller's rights.
		{"resourcegroupstaggingapi", "TagResources", "tag:TagResources", nil},
		{"cloudcontrol", "DeleteResource", "cloudformation:DeleteResource", nil},
		{"cloudformation", "CreateStackSet", "cloudformation:CreateStackSet", nil},
		{"rekognition", "DetectText", "rekognition:DetectText", nil},
		{"textract", "StartDocumentAnalysis", "textract:StartDocumentAnalysis", nil},
		{"lakeformation", "GrantPermissions", "lakeformation:GrantPermissions", nil},
		{"secretsmanager", "BatchGetSecretValue", "secretsmanager:BatchGetSecretValue", nil},
		{"bedrock-runtime", "InvokeModel", "bedrock:InvokeModel", nil},
		{"bedrock-runtime", "InvokeModelWithBidirectionalStream", "bedrock:InvokeModel", []string{"bedrock"}},
		{"ds", "CreateDirectory", "ds:CreateDirectory", nil},
		// What IAM does not list.
		{"codecatalyst", "GetProject", "codecatalyst:GetProject", nil},
		{"s3", "OfALaterVersion", "s3:OfALaterVersion", nil},
		{"no-service", "X", "ec2:DescribeInstances", nil},
	} {
		if diff := cmp.Diff(c.want, tab.Services(c.service, c.operation, c.action)); diff != "" {
			t.Errorf("%s of %s: %s", c.operation, c.service, diff)
		}
	}
}
