"""Pawprint: reproducible transfer learning for image classification."""
