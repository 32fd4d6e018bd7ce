package awsreq

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestResources: what requests name by id, by name, in part, or not at all.
func TestResources(t *testing.T) {
	tab := newTable(t)
	form := func(service, body string) *Input {
		return request(t, tab, "POST https://"+service+".us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
	}
	target := func(service, target, body string) *Input {
		return request(t, tab, "POST https://"+service+".us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target}}, body)
	}
	iam := func(body string) *Input {
		in := form("sts", body)
		h, err := tab.ParseHost("iam.amazonaws.com")
		if err != nil {
			t.Fatal(err)
		}
		in.Host = &h
		return in
	}
	const ec2 = "arn:aws:ec2:us-east-1:" + account + ":"
	for _, c := range []struct {
		in   *Input
		want string // separated by spaces
	}{
		// By what the id begins with; images and snapshots are of no account.
		{form("ec2", "Action=CreateTags&ResourceId.1=i-0a1b2c3d4e5f67890&ResourceId.2=vol-0a1b2c3d&ResourceId.3=ami-0a1b2c3d&ResourceId.4=snap-0a1b2c3d&Tag.1.Key=owner&Tag.1.Value=sg-0a1b2c3d"),
			"arn:aws:ec2:us-east-1::image/ami-0a1b2c3d " + ec2 + "instance/i-0a1b2c3d4e5f67890 arn:aws:ec2:us-east-1::snapshot/snap-0a1b2c3d " + ec2 + "volume/vol-0a1b2c3d"},
		{form("ec2", "Action=DeleteTags&ResourceId.1=tgw-attach-0a1b2c3d"), ec2 + "transit-gateway-attachment/tgw-attach-0a1b2c3d"},
		{form("ec2", "Action=CreateTags&ResourceId.1=ipam-pool-0a1b2c3d"), "arn:aws:ec2::" + account + ":ipam-pool/ipam-pool-0a1b2c3d"},
		{form("ec2", "Action=CreateTags&ResourceId.1=fleet-73fbd2ce-aa30-494c-8788-1cee4abcdef0"), ec2 + "fleet/fleet-73fbd2ce-aa30-494c-8788-1cee4abcdef0"},
		// A key pair's ARN has its name, which the id does not tell.
		{form("ec2", "Action=CreateTags&ResourceId.1=i-0a1b2c3d&ResourceId.2=key-0a1b2c3d"), ""},
		{form("ec2", "Action=CreateTags&ResourceId.1=arn%3Aaws%3Aec2%3Aus-east-1%3A"+account+"%3Avpc%2Fvpc-1"), ec2 + "vpc/vpc-1"},
		// One of an unknown kind among others: not all are known, so none is told.
		{form("ec2", "Action=CreateTags&ResourceId.1=i-0a1b2c3d&ResourceId.2=new-0a1b2c3d"), ""},
		{form("ec2", "Action=CreateTags&ResourceId.1=i-0a1b2c3d&ResourceId.2=tgw-new-0a1b2c3d"), ""},
		{form("ec2", "Action=CreateTags&ResourceId.1=rimod-0a1b2c3d"), ""},
		{form("ec2", "Action=TerminateInstances&InstanceId.1=i-1&InstanceId.2=i-2%3Ax"), ""},
		{form("ec2", "Action=DeleteNetworkAcl&NetworkAclId=acl-0a1b2c3d"), ec2 + "network-acl/acl-0a1b2c3d"},
		{form("ec2", "Action=AssociateRouteTable&RouteTableId=rtb-0a1b2c3d&GatewayId=igw-0a1b2c3d"), ec2 + "internet-gateway/igw-0a1b2c3d " + ec2 + "route-table/rtb-0a1b2c3d"},
		{form("ec2", "Action=RunInstances&ImageId=ami-0a1b2c3d&NetworkInterface.1.SubnetId=subnet-0a1b2c3d&NetworkInterface.1.SecurityGroupId.1=sg-0a1b2c3d"),
			"arn:aws:ec2:us-east-1::image/ami-0a1b2c3d " + ec2 + "security-group/sg-0a1b2c3d " + ec2 + "subnet/subnet-0a1b2c3d"},
		// What is yet to be made has no id.
		{form("ec2", "Action=CreateVpc&CidrBlock=10.0.0.0%2F16"), ec2 + "vpc/*"},
		// What the operation does not take says nothing, whatever stands in it.
		{form("ec2", "Action=DisassociateVpcCidrBlock&AssociationId=vpc-cidr-assoc-1&VpcId=vpc-0a1b2c3d"), ""},
		{form("ec2", "Action=DisassociateVpcCidrBlock&AssociationId=vpc-cidr-assoc-1&X=arn%3Aaws%3Aec2%3Aus-east-1%3A"+account+"%3Avpc%2Fvpc-1"), ""},
		{request(t, tab, "POST https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/secret/invocations", http.Header{"Content-Type": {"application/json"}},
			`{"x":"arn:aws:lambda:us-east-1:`+account+`:function:mine"}`), "arn:aws:lambda:us-east-1:" + account + ":function:secret"},
		// A payload is the caller's own, repetitions and all.
		{request(t, tab, "POST https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/f/invocations", http.Header{"Content-Type": {"application/json"}},
			`{"Qualifier":"a","Qualifier":"b"}`), "arn:aws:lambda:us-east-1:" + account + ":function:f"},
		// What a body calls itself does not change how AWS reads it.
		{request(t, tab, "POST https://dynamodb.us-east-1.amazonaws.com/", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Amz-Target": {"DynamoDB_20120810.GetItem"}},
			`{"TableName":"secret","x":"&TableName=mine&"}`), "arn:aws:dynamodb:us-east-1:" + account + ":table/secret"},
		// Names without their path, which only IAM knows; with it, where they are made.
		{iam("Action=GetUser&Version=2010-05-08&UserName=alice"), "arn:aws:iam::" + account + ":user/*alice"},
		{iam("Action=CreateAccessKey&Version=2010-05-08&UserName=alice"), "arn:aws:iam::" + account + ":user/*alice"},
		{iam("Action=CreateUser&Version=2010-05-08&UserName=alice"), "arn:aws:iam::" + account + ":user/alice"},
		{iam("Action=CreateRole&Version=2010-05-08&RoleName=app&Path=%2Fteam%2F"), "arn:aws:iam::" + account + ":role/team/app"},
		{iam("Action=AttachRolePolicy&Version=2010-05-08&RoleName=app&PolicyArn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2FX"), "arn:aws:iam::" + account + ":role/*app"},
		// In part.
		{form("autoscaling", "Action=DeleteAutoScalingGroup&AutoScalingGroupName=web"), "arn:aws:autoscaling:us-east-1:" + account + ":autoScalingGroup:*:autoScalingGroupName/web"},
		{form("cloudformation", "Action=DeleteStack&StackName=web"), "arn:aws:cloudformation:us-east-1:" + account + ":stack/web/*"},
		{target("organizations", "AWSOrganizationsV20161128.AttachPolicy", `{"PolicyId":"p-abcd1234","TargetId":"ou-ab12-cd345678"}`),
			"arn:aws:organizations::" + account + ":ou/o-*/ou-ab12-cd345678 arn:aws:organizations::" + account + ":policy/o-*/*/p-abcd1234"},
		{target("organizations", "AWSOrganizationsV20161128.TagResource", `{"ResourceId":"210987654321"}`), "arn:aws:organizations::" + account + ":account/o-*/210987654321"},
		{target("wafv2", "AWSWAF_20190729.GetIPSet", `{"Name":"n","Scope":"REGIONAL","Id":"i"}`), "arn:aws:wafv2:us-east-1:" + account + ":*/ipset/n/i"},
		// A family and its revision in one; without, the newest, whichever that is.
		{target("ecs", "AmazonEC2ContainerServiceV20141113.RunTask", `{"cluster":"c","taskDefinition":"web:3","startedBy":"x:1"}`), "arn:aws:ecs:us-east-1:" + account + ":task-definition/web:3"},
		{target("ecs", "AmazonEC2ContainerServiceV20141113.RunTask", `{"taskDefinition":"web"}`), "arn:aws:ecs:us-east-1:" + account + ":task-definition/web:*"},
		{target("ecs", "AmazonEC2ContainerServiceV20141113.RunTask", `{"taskDefinition":"web:*"}`), ""},
		{target("ecs", "AmazonEC2ContainerServiceV20141113.RunTask", `{"taskDefinition":"web:3:4"}`), ""},
		{target("ecs", "AmazonEC2ContainerServiceV20141113.DeleteTaskDefinitions", `{"taskDefinitions":["web:3","api:1"]}`),
			"arn:aws:ecs:us-east-1:" + account + ":task-definition/web:3 arn:aws:ecs:us-east-1:" + account + ":task-definition/api:1"},
		{target("ecs", "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition", `{"family":"web","containerDefinitions":[]}`), "arn:aws:ecs:us-east-1:" + account + ":task-definition/web:*"},
		// By what services call them.
		{target("cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.StopLogging", `{"Name":"all"}`), "arn:aws:cloudtrail:us-east-1:" + account + ":trail/all"},
		{target("cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.StopLogging", `{"Name":"arn:aws:cloudtrail:eu-west-1:`+account+`:trail/all"}`), "arn:aws:cloudtrail:eu-west-1:" + account + ":trail/all"},
		{target("elasticmapreduce", "ElasticMapReduce.TerminateJobFlows", `{"JobFlowIds":["j-1ABC","j-2ABC"]}`), "arn:aws:elasticmapreduce:us-east-1:" + account + ":cluster/j-1ABC arn:aws:elasticmapreduce:us-east-1:" + account + ":cluster/j-2ABC"},
		{target("elasticmapreduce", "ElasticMapReduce.AddTags", `{"ResourceId":"j-1ABC","Tags":[]}`), "arn:aws:elasticmapreduce:us-east-1:" + account + ":cluster/j-1ABC"},
		{target("codebuild", "CodeBuild_20161006.BatchGetProjects", `{"names":["a","b"]}`), "arn:aws:codebuild:us-east-1:" + account + ":project/a arn:aws:codebuild:us-east-1:" + account + ":project/b"},
		{target("glue", "AWSGlue.StartWorkflowRun", `{"Name":"w"}`), "arn:aws:glue:us-east-1:" + account + ":workflow/w"},
		// By names that end as the type does.
		{target("api.sagemaker", "SageMaker.DeleteMlflowTrackingServer", `{"TrackingServerName":"m"}`), "arn:aws:sagemaker:us-east-1:" + account + ":mlflow-tracking-server/m"},
		{request(t, tab, "DELETE https://pinpoint.us-east-1.amazonaws.com/v1/apps/a1", nil, ""), "arn:aws:mobiletargeting:us-east-1:" + account + ":apps/a1"},
		{request(t, tab, "POST https://clouddirectory.us-east-1.amazonaws.com/amazonclouddirectory/2017-01-11/object/information",
			http.Header{"X-Amz-Data-Partition": {"arn:aws:clouddirectory:us-east-1:" + account + ":directory/d"}}, ""), "arn:aws:clouddirectory:us-east-1:" + account + ":directory/d"},
		// Bedrock's models, by their ids and those of inference profiles.
		{request(t, tab, "POST https://bedrock-runtime.us-east-1.amazonaws.com/model/zai.glm-4.6-v1%3A0/invoke", http.Header{"Content-Type": {"application/json"}}, "{}"),
			"arn:aws:bedrock:us-east-1::foundation-model/zai.glm-4.6-v1:0"},
		{request(t, tab, "POST https://bedrock-runtime.us-east-1.amazonaws.com/model/eu.anthropic.claude-v2/converse-stream", http.Header{"Content-Type": {"application/json"}}, "{}"),
			"arn:aws:bedrock:us-east-1:" + account + ":inference-profile/eu.anthropic.claude-v2"},
		{request(t, tab, "POST https://bedrock-runtime.us-east-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A"+account+"%3Aprovisioned-model%2Fabc/converse", http.Header{"Content-Type": {"application/json"}}, "{}"),
			"arn:aws:bedrock:us-east-1:" + account + ":provisioned-model/abc"},
		// An id is no name, and a name that somebody gave no id: any of the type.
		{target("lightsail", "Lightsail_20161128.DeleteDisk", `{"diskName":"d"}`), "arn:aws:lightsail:us-east-1:" + account + ":Disk/*"},
		{target("athena", "AmazonAthena.GetQueryResults", `{"QueryExecutionId":"q"}`), "arn:aws:athena:us-east-1:" + account + ":workgroup/*"},
		{target("sqs", "AmazonSQS.CancelMessageMoveTask", `{"TaskHandle":"x"}`), "arn:aws:sqs:us-east-1:" + account + ":*"},
		{target("logs", "Logs_20140328.GetQueryResults", `{"queryId":"q"}`), "arn:aws:logs:us-east-1:" + account + ":log-group:*"},
		// AppRegistry takes names for ids; MediaPackage's ARNs have ids of their own.
		{request(t, tab, "GET https://servicecatalog-appregistry.us-east-1.amazonaws.com/applications/shop", nil, ""), "arn:aws:servicecatalog:us-east-1:" + account + ":/applications/*"},
		{request(t, tab, "GET https://mediapackage.us-east-1.amazonaws.com/channels/sports", nil, ""), "arn:aws:mediapackage:us-east-1:" + account + ":channels/*"},
		// Not where it may be another account's, or what the caller's rights reach beside.
		{target("sqs", "AmazonSQS.GetQueueAttributes", `{"QueueUrl":"https://sqs.us-east-1.amazonaws.com/999999999999/q"}`), ""},
		{target("athena", "AmazonAthena.GetQueryResults", `{"QueryExecutionId":"999999999999/q"}`), ""},
		{target("comprehend", "Comprehend_20171127.StartTopicsDetectionJob", `{"InputDataConfig":{"S3Uri":"s3://b/k"}}`), ""},
		{target("dms", "AmazonDMSv20160101.StartReplicationTask", `{"ReplicationTaskArn":"arn:aws:dms:us-east-1:`+account+`:task:ABC"}`), "arn:aws:dms:us-east-1:" + account + ":task:ABC"},
		{target("dms", "AmazonDMSv20160101.StartReplicationTask", `{"ReplicationTaskArn":"arn:aws:dms:us-east-1:999999999999:task:ABC"}`), "arn:aws:dms:us-east-1:999999999999:task:ABC"},
	} {
		r := tab.Recognize(c.in)
		if d := cmp.Diff(c.want, strings.Join(r.Resources, " ")); d != "" || r.Ambiguous || r.Operation == "" {
			t.Errorf("%s %s (ambiguous %v): %s", r.Operation, c.in.Body, r.Ambiguous, d)
		}
	}
}

// What is told of a request is not many times as long as it.
func TestLongNames(t *testing.T) {
	tab := newTable(t)
	tasks := `"t0"`
	for i := range 60 {
		tasks += fmt.Sprintf(`,"t%d"`, i+1)
	}
	for _, long := range []int{255, 50_000} {
		body := `{"cluster":"` + strings.Repeat("c", long) + `","tasks":[` + tasks + `]}`
		r := tab.Recognize(request(t, tab, "POST https://ecs.us-east-1.amazonaws.com/",
			http.Header{"X-Amz-Target": {"AmazonEC2ContainerServiceV20141113.DescribeTasks"}}, body))
		all := strings.Join(r.Resources, "")
		if r.Operation != "DescribeTasks" || len(all) > 61*512 || strings.Contains(all, "ccc") != (long < 256) || !strings.Contains(all, "task/") {
			t.Errorf("of a name of %d bytes: %s %.200q, %d bytes", long, r.Operation, all, len(all))
		}
	}
}

// An ARN that repeats what patterns consist of takes no more time than any other.
func TestRepeatingARN(t *testing.T) {
	tab := newTable(t)
	const snapshot = "arn:aws:partnercentral:us-east-1:" + account + ":catalog/AWS/engagement/e/resource/r/i/template/t/resource-snapshot/1"
	ask := func(engagement string) string {
		return strings.Join(tab.Recognize(request(t, tab, "POST https://partnercentral-selling.us-east-1.api.aws/",
			http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amz-Target": {"AWSPartnerCentralSelling.ListResourceSnapshots"}}, `{"EngagementIdentifier":"`+engagement+`"}`)).Resources, " ")
	}
	if got := ask(snapshot); got != snapshot {
		t.Errorf("%q", got)
	}
	if got := ask("arn:aws:partnercentral:us-east-1:" + account + ":catalog/AWS" + strings.Repeat("/engagement/e", 2000) + strings.Repeat("/resource/r", 3000)); strings.Contains(got, "engagement/e") {
		t.Errorf("%.200q", got)
	}
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a/${X}", "a/b/c", true}, {"a/${X}", "a/", false}, {"a:*", "a:b", true}, {"a:*", "a:", false},
		{"a/${X}/c", "a/b/c", true}, {"a/${X}/c", "a/c/c/c", true}, {"a/${X}/c", "a//c", false}, {"a/${X}/c", "a/c", false}, {"a/${X}/c", "a/b/cd", false},
		{"a/${X}${Y}", "a/bc", true}, {"a/${X}${Y}", "a/b", false}, {"${X}/b/${Y}:${Z}", "b/b/b/b:b:b", true}, {"${X}/b/${Y}:${Z}", "b/b/b:", false},
	} {
		if matchText(c.pattern, c.text) != c.want {
			t.Errorf("%q is of %q: %v", c.text, c.pattern, !c.want)
		}
	}
}
