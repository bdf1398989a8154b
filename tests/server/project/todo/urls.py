from django.urls import path

from items import views

urlpatterns = [path("", views.page), path("healthz", views.healthz)]
