output "function_arn" {
  value = aws_lambda_function.this.arn
}

output "layer_arn" {
  value = layerwise_layer_version.this.arn
}

output "layer_code_sha256" {
  value = layerwise_layer_version.this.code_sha256
}
