terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

# Each profile is an app's session in an account of its own.
provider "aws" {}

provider "aws" {
  alias   = "second"
  profile = "second"
}

provider "aws" {
  alias   = "third"
  profile = "third"
}

data "aws_caller_identity" "first" {}

data "aws_caller_identity" "second" {
  provider = aws.second
}

data "aws_caller_identity" "third" {
  provider = aws.third
}

data "aws_region" "first" {}

data "aws_region" "second" {
  provider = aws.second
}

data "aws_region" "third" {
  provider = aws.third
}

output "arns" {
  value = join(" ", [
    data.aws_caller_identity.first.arn, data.aws_caller_identity.second.arn, data.aws_caller_identity.third.arn,
    data.aws_region.first.id, data.aws_region.second.id, data.aws_region.third.id,
  ])
}
