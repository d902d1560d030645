output "function_arn" {
  value = aws_lambda_function.this.arn
}

output "layer_arn" {
  value = aws_lambda_layer_version.this.arn
}

output "layer_sha256" {
  value = layerwise_layer.this.sha256
}
